# Machines for a test, by Linux namespaces; for root. Sourced by scripts.
#
# A machine has a network interface, processes, and the directories /etc, /usr and /var/lib of its own. When its first process is killed, all of its processes are,
# as by a loss of power; its files stay in $work.

# machine NAME ADDRESS: starts it, or starts it again.
machine() {
  local name="$1" address="$2" directory="$work/$1" first
  mkdir -p "$directory/var/log"
  mountpoint -q "$directory/upper" 2> /dev/null || { mkdir -p "$directory/upper"; mount -t tmpfs guide "$directory/upper"; }
  mkdir -p "$directory"/upper/{etc,etc.work,usr,usr.work}
  unshare --net --mount --pid --fork --kill-child --mount-proc bash -c "
    for folder in etc usr; do
      mount -t overlay -o lowerdir=/\$folder,upperdir=$directory/upper/\$folder,workdir=$directory/upper/\$folder.work overlay /\$folder
    done
    mount --bind '$directory/var' /var/lib
    sleep infinity & wait" < /dev/null > "$directory/unshare.log" 2>&1 &
  echo $! > "$directory/outer"
  disown
  until first="$(pgrep -P "$(cat "$directory/outer")")" && pgrep -P "$first" > /dev/null; do sleep 0.02; done
  echo "$first" > "$directory/first"
  ip link add "$bridge-$name" type veth peer name eth0 netns "$first"
  ip link set "$bridge-$name" master "$bridge" up
  nsenter --target "$first" --net sh -c "ip link set lo up; ip link set eth0 up; ip addr add $address/24 dev eth0"
}

# on NAME COMMANDS: runs commands as root of the machine, with its standard input.
on() {
  nsenter --target "$(cat "$work/$1/first")" --net --mount --pid env -i HOME=/root PATH="$shims:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" TERM=dumb bash -euc "cd /root; $2"
}

# power_off NAME: ends everything on it at once.
power_off() {
  kill -9 "$(cat "$work/$1/outer")"
  while ip link show "$bridge-$1" > /dev/null 2>&1; do sleep 0.02; done
}

# clean_up: ends all machines, and removes what they have left.
clean_up() {
  local directory
  for directory in "$work"/*/; do
    if [ -e "$directory/outer" ]; then
      kill -9 "$(cat "$directory/outer")" 2> /dev/null || true
      while [ -e "/proc/$(cat "$directory/first")" ]; do sleep 0.02; done
      umount "$directory/upper"
    fi
  done
  ip link del "$bridge" 2> /dev/null || true
}
