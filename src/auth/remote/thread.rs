use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;

/// The thread on which services are asked. It starts with the first request.
#[derive(Debug, Default)]
pub(in crate::auth) struct RemoteThread {
    handle: Mutex<Option<Handle>>,
    end: Arc<Notify>,
}

impl RemoteThread {
    /// Where to run requests. An error: the thread could not be started; the next call tries it again.
    pub(in crate::auth) fn handle(&self) -> io::Result<Handle> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*handle {
            return Ok(handle.clone());
        }
        Ok(handle.insert(self.start()?).clone())
    }

    fn start(&self) -> io::Result<Handle> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(RESOLVERS_MAX)
            .thread_name("auth-resolver")
            .build()?;
        let (handle, end) = (runtime.handle().clone(), Arc::clone(&self.end));
        let run = move || {
            runtime.block_on(end.notified());
            // A name that is being resolved is not waited for.
            runtime.shutdown_background();
        };
        thread::Builder::new().name("auth-services".to_owned()).spawn(run)?;
        Ok(handle)
    }

    /// Ends the thread, and all requests.
    pub(in crate::auth) fn end(&self) {
        self.end.notify_one();
    }
}

/// Threads that resolve the names of services: a resolver that hangs holds up no more.
const RESOLVERS_MAX: usize = 4;
