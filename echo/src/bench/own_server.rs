//! The server that a benchmark starts for itself: the same as that of `serve`.

use std::sync::Arc;

use readinto::{Address, Reactor};

use crate::allow::AllowList;
use crate::cli::BenchOptions;
use crate::limit::Limit;
use crate::serve::connection::FrameLimits;
use crate::serve::error::ServeError;
use crate::serve::listen::Bound;
use crate::serve::server::Server;
use crate::serve::service::Limits;
use crate::serve::signals::StopRequests;
use crate::serve::unix_path;

/// A server on a thread of this process.
pub(crate) struct OwnServer {
    address: Address,
    server: Server,
    stop: Arc<StopRequests>,
}

impl OwnServer {
    /// Starts it on a free port of 127.0.0.1, with room for this benchmark.
    pub(crate) fn start(options: &BenchOptions) -> Result<OwnServer, ServeError> {
        let limits = Limits {
            allow: AllowList::default(),
            frames: FrameLimits {
                prefix: options.prefix,
                max_frame: options.frame_size,
                idle: Limit::NONE,
                frame: Limit::NONE,
                stall: Limit::NONE,
                shortage: Limit::NONE,
            },
            max_connections: options.connections as usize,
            drain: Limit::NONE,
        };
        let any_port = Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port: 0,
        };
        let bound = Bound::bind(&any_port, unix_path::PRIVATE, 1)?;
        let address = bound.address.clone();
        let stop = Arc::<StopRequests>::default();
        let builder = Reactor::builder().busy_poll(options.busy_poll);
        let server = Server::start(builder, 1, vec![bound], limits, stop.clone())?;
        Ok(OwnServer {
            address,
            server,
            stop,
        })
    }

    pub(crate) fn address(&self) -> Address {
        self.address.clone()
    }

    /// Ends it, once its clients have gone.
    pub(crate) fn stop(self) -> Result<(), ServeError> {
        self.stop.request();
        self.server.join().map(drop)
    }
}
