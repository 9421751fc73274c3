//! Host names to addresses, without holding up the reactor.
//!
//! The standard library's resolver blocks, for seconds if a name server is
//! silent, so for a connection it runs on a thread of its own, and so many of them at
//! once. A host that is an IP address costs neither thread nor wait.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

use super::address::Address;
use crate::waiting::Waiting;

/// All socket addresses of `host`, at least one, in the resolver's order.
///
/// Waits while [`MOST_LOOKUPS`] others are under way. Dropping the future leaves the
/// thread to end on its own, its answer unread.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Some(address) = Address::literal(host, port) {
        return Ok(vec![address]);
    }
    let permit = LOOKUPS.permit().await;
    let answer = ask(host.to_owned(), port, permit)?;
    poll_fn(|context| {
        let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
        match answer.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                answer.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

/// As [`resolve`], but blocks the thread while a name is looked up.
pub(crate) fn resolve_blocking(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Some(address) = Address::literal(host, port) {
        return Ok(vec![address]);
    }
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the host has no address",
        ));
    }
    Ok(addresses)
}

/// Where the resolving thread leaves what it found.
#[derive(Default)]
struct Answer {
    result: Option<io::Result<Vec<SocketAddr>>>,
    waker: Option<Waker>,
}

fn ask(host: String, port: u16, permit: Permit) -> io::Result<Arc<Mutex<Answer>>> {
    let answer = Arc::new(Mutex::new(Answer::default()));
    let theirs = answer.clone();
    thread::Builder::new()
        .name("readinto-resolve".to_owned())
        .spawn(move || {
            let result = resolve_blocking(&host, port);
            drop(permit);
            let mut answer = theirs.lock().unwrap_or_else(PoisonError::into_inner);
            answer.result = Some(result);
            let waker = answer.waker.take();
            drop(answer);
            if let Some(waker) = waker {
                waker.wake();
            }
        })?;
    Ok(answer)
}

/// The lookups of this process: its threads are what they cost.
static LOOKUPS: LazyLock<Lookups> = LazyLock::new(|| Lookups::new(MOST_LOOKUPS));

/// How many are under way, and who waits to begin one.
struct Lookups {
    most: usize,
    running: AtomicUsize,
    waiting: Waiting,
}

/// Leave to look a name up; it ends when it is dropped.
struct Permit(&'static Lookups);

impl Lookups {
    fn new(most: usize) -> Lookups {
        Lookups {
            most,
            running: AtomicUsize::new(0),
            waiting: Waiting::default(),
        }
    }

    /// Waits until there are fewer than may be.
    async fn permit(&'static self) -> Permit {
        self.waiting.until(|| self.try_permit()).await
    }

    fn try_permit(&'static self) -> Option<Permit> {
        let more = |running| (running < self.most).then_some(running + 1);
        let order = Ordering::AcqRel;
        let begun = self.running.fetch_update(order, Ordering::Acquire, more);
        begun.ok().map(|_| Permit(self))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.waiting.wake();
    }
}

/// Enough for a burst; a name server that is silent holds each of them for seconds.
const MOST_LOOKUPS: usize = 64;

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;
    use crate::count_wakes::CountWakes;

    #[test]
    fn a_lookup_too_many_waits_until_another_ends() {
        static LOOKUPS: LazyLock<Lookups> = LazyLock::new(|| Lookups::new(2));
        let (first, _second) = (LOOKUPS.try_permit().unwrap(), LOOKUPS.try_permit().unwrap());
        let woken = Arc::<CountWakes>::default();
        let waker = woken.clone().into();
        let mut context = Context::from_waker(&waker);
        let mut third = pin!(LOOKUPS.permit());
        assert!(third.as_mut().poll(&mut context).is_pending());
        assert_eq!(woken.get(), 0);
        drop(first);
        assert_eq!(woken.get(), 1);
        let Poll::Ready(third) = third.as_mut().poll(&mut context) else {
            panic!("there is room for it");
        };
        assert!(LOOKUPS.try_permit().is_none());
        drop(third);
        assert!(LOOKUPS.try_permit().is_some());
    }
}
