//! What the operating system is asked for: limits of a process, and the end of it and of whatever it started.

#[cfg(unix)]
mod unix {
    use rustix::process::{Pid, Signal, kill_process_group};
    #[cfg(target_os = "linux")]
    use rustix::process::{Resource, Rlimit, prlimit};
    use tokio::process::Command;

    use super::super::StdioServer;

    /// A group of its own, so that its children end with it and a key pressed at the terminal does not reach it.
    pub(in super::super) fn prepare(command: &mut Command, server: &StdioServer) {
        command.process_group(0);
        if let Some((user, group)) = server.run_as {
            command.uid(user).gid(group);
        }
    }

    /// Sets the operator's limits; children inherit them. The process has just begun, so it has not used much yet.
    pub(in super::super) fn limit(pid: u32, server: &StdioServer) -> Result<(), String> {
        #[cfg(target_os = "linux")]
        {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let set = |what, most: Option<u64>| match most {
                None => Ok(()),
                Some(_) => prlimit(pid, what, Rlimit { current: most, maximum: most })
                    .map(drop)
                    .map_err(|why| why.to_string()),
            };
            set(Resource::Data, server.memory)?;
            set(Resource::Cpu, server.cpu)?;
            // A crash must not fill the disk, nor leave secrets on it.
            set(Resource::Core, Some(0))
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (pid, server);
            Ok(())
        }
    }

    fn signal(pid: u32, signal: Signal) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // Nobody left is what was wanted.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Asks a process and its children to end.
    pub(in super::super) fn terminate(pid: u32) {
        signal(pid, Signal::TERM);
    }

    /// Ends a process and its children.
    pub(in super::super) fn kill(pid: u32) {
        signal(pid, Signal::KILL);
    }

    /// The signal that ended a process.
    pub(in super::super) fn signal_of(status: std::process::ExitStatus) -> Option<i32> {
        std::os::unix::process::ExitStatusExt::signal(&status)
    }
}

#[cfg(not(unix))]
mod other {
    use tokio::process::Command;

    use super::super::StdioServer;

    pub(in super::super) fn prepare(_: &mut Command, _: &StdioServer) {}

    pub(in super::super) fn limit(_: u32, _: &StdioServer) -> Result<(), String> {
        Ok(())
    }

    pub(in super::super) fn terminate(_: u32) {}

    pub(in super::super) fn kill(_: u32) {}

    pub(in super::super) fn signal_of(_: std::process::ExitStatus) -> Option<i32> {
        None
    }
}

#[cfg(not(unix))]
pub(super) use other::{kill, limit, prepare, signal_of, terminate};
#[cfg(unix)]
pub(super) use unix::{kill, limit, prepare, signal_of, terminate};
