/* A library to be loaded before the C library (LD_PRELOAD): it shows a process another wall clock, whether it is synchronized, and another
   boot identifier. The file named by CLOCK_CONTROL has the offset of the wall clock in milliseconds (64 bits) and whether it is
   synchronized (64 bits), and may change at any time. CLOCK_BOOT_ID, if set, names the file with the boot identifier. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

struct control {
  volatile int64_t offset_ms;
  volatile int64_t synchronized;
};

static const struct control *control(void) {
  static const struct control *mapped;
  if (!mapped) {
    const char *path = getenv("CLOCK_CONTROL");
    int file = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    void *memory = file < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) abort();
    close(file);
    mapped = memory;
  }
  return mapped;
}

int clock_gettime(clockid_t id, struct timespec *time) {
  int result = (int)syscall(SYS_clock_gettime, id, time);
  if (result == 0 && id == CLOCK_REALTIME) {
    int64_t ms = time->tv_sec * 1000 + time->tv_nsec / 1000000 + control()->offset_ms;
    time->tv_sec = ms / 1000;
    time->tv_nsec = ms % 1000 * 1000000;
  }
  return result;
}

int adjtimex(struct timex *time) {
  memset(time, 0, sizeof *time);
  time->status = control()->synchronized ? STA_PLL : STA_UNSYNC;
  return control()->synchronized ? TIME_OK : TIME_ERROR;
}

static int open_as(const char *path, int flags, mode_t mode) {
  const char *boot = getenv("CLOCK_BOOT_ID");
  if (boot && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0) path = boot;
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = va_arg(rest, mode_t);
  va_end(rest);
  return open_as(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = va_arg(rest, mode_t);
  va_end(rest);
  return open_as(path, flags | O_LARGEFILE, mode);
}
