//! Host names to addresses, without holding up the reactor.
//!
//! The standard library's resolver blocks, for seconds if a name server is
//! silent, so for a connection it runs on a thread of its own. A host that is
//! an IP address costs neither thread nor wait.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

use super::address::Address;

/// All socket addresses of `host`, at least one, in the resolver's order.
///
/// Dropping the future leaves the thread to end on its own, its answer unread.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Some(address) = Address::literal(host, port) {
        return Ok(vec![address]);
    }
    let answer = ask(host.to_owned(), port)?;
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

fn ask(host: String, port: u16) -> io::Result<Arc<Mutex<Answer>>> {
    let answer = Arc::new(Mutex::new(Answer::default()));
    let theirs = answer.clone();
    thread::Builder::new()
        .name("readinto-resolve".to_owned())
        .spawn(move || {
            let result = resolve_blocking(&host, port);
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
