//! `anabranch mcp`: flows and indexes as tools, over standard input and output.

use rmcp::ServiceExt as _;

use super::{Ended, serve, world};
use crate::api::{Caller, Roles};
use crate::config::LogFormat;
use crate::exit::{self, Error, Exit};
use crate::mcp::Tools;

/// Offer flows and indexes as tools to an MCP client, over standard input and output
///
/// For clients that start their servers themselves. It opens the store of the configuration, takes in the flows of
/// `server.flows`, and runs what is called in this process, as jobs that `anabranch jobs` shows. It listens nowhere and
/// needs no key: whoever can start it can read its files anyway.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch mcp
  anabranch mcp --config /etc/anabranch/anabranch.yaml

In the configuration of a client:
  { \"mcpServers\": { \"anabranch\": { \"command\": \"anabranch\", \"args\": [\"mcp\"] } } }

A service that runs already offers the same at POST /mcp.")]
pub(crate) struct Args {
    #[command(flatten)]
    world: world::Args,
}

pub(crate) async fn run(args: &Args) -> Ended {
    serve::log_to_stderr(LogFormat::Auto);
    let cancel = world::cancel_on_stop();
    let process =
        serve::begin(&args.world, &cancel, |_| None, Roles { api: false, worker: true }, true).await?;
    let tools = Tools::of(process.app().clone(), Caller::of_this_machine());
    let stop = cancel.clone();
    let speaking = async move {
        let served = tools.serve(rmcp::transport::stdio()).await;
        let ended = match served {
            Ok(running) => {
                let stopping = running.cancellation_token();
                tokio::select! {
                    ended = running.waiting() => ended.map(drop).map_err(|error| exit::chain(&error)),
                    () = stop.cancelled() => {
                        stopping.cancel();
                        Ok(())
                    }
                }
            }
            Err(error) => Err(exit::chain(&error)),
        };
        ended.map_err(|why| Error::new(Exit::Failed, format!("the client broke off: {why}")))
    };
    let (ended, over) = tokio::sync::oneshot::channel();
    let serving = process.serve(async {
        // Whoever speaks tells when it is over; nobody listens otherwise.
        let _over: Result<(), _> = over.await;
    });
    let (spoken, ()) = tokio::join!(
        async {
            let spoken = speaking.await;
            let _unheard: Result<(), ()> = ended.send(());
            spoken
        },
        serving
    );
    spoken.map(|()| Exit::Ok)
}
