//! What can be wrong with a server that is a process of this machine.

/// Why a server on this machine gave no answer. `Display` may be shown to a tenant: it has nothing of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcessFault {
    /// The operator does not list it, or not for this organisation.
    #[error(
        "The operator of this Gatehouse does not offer this server to your organisation, or no longer does. Nothing was sent."
    )]
    NotListed,
    /// The command cannot be started.
    #[error("The server's command could not be started. Its log on the connector's page says why.")]
    NotStarted,
    /// It ended by itself.
    #[error("The server's process ended ({0}) before it answered. It is started again with the next call.")]
    Ended(Ending),
    /// It was stopped in good order: nobody had used it, or Gatehouse is stopping.
    #[error("The server's process was stopped. Try again: it is started when it is needed.")]
    Stopped,
    /// It ended too often; seconds until it is started again.
    #[error("The server's process keeps ending, so it is started again in {0} seconds. Nothing was sent.")]
    Resting(u32),
    /// As many run as the operator allows.
    #[error(
        "As many processes of this server are running as the operator allows ({0}), and all are in use. Nothing was sent; try again in a moment."
    )]
    TooMany(u32),
    /// One message is over the limit, which is so many bytes.
    #[error("The server's answer is larger than {} MiB.", .0 >> 20)]
    TooLarge(usize),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this status.
    Status(i32),
    /// By a signal: it crashed, was over a limit, or somebody ended it.
    Signal(i32),
    /// It closed its output.
    Closed,
}

impl core::fmt::Display for Ending {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Closed => f.write_str("it closed its output"),
        }
    }
}
