//! Finds out whether `mpirun` or `srun` started this process as one of several, which then train
//! together, and which device each of them takes.

use std::{env, time::Duration};

use vssl::{
    collective::Group,
    device::{self, Backend, Device, DeviceChoice},
};

use crate::failure::{self, Failure};

/// Environment variables of Open MPI, of MPICH and Intel MPI, and of Slurm: the number of processes,
/// the rank of this process, and its rank among the processes of its machine.
const VARIABLES: [[&str; 3]; 3] = [
    ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"],
    ["PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID"],
    ["SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"],
];

/// What a launcher says of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Number of processes of the job.
    pub world: usize,
    /// Number of this process in the job.
    pub rank: usize,
    /// Number of this process among those of its machine.
    pub local: usize,
}

impl Launch {
    /// What the launcher says of this process, if it is one of several.
    pub fn detect() -> Option<Self> {
        Self::from(|name| env::var(name).ok())
    }

    fn from(value: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let number = |name: &str| value(name)?.parse::<usize>().ok();
        let found = VARIABLES.into_iter().find_map(|[world, rank, local]| {
            let rank = number(rank)?;
            Some(Self { world: number(world)?, rank, local: number(local).unwrap_or(rank) })
        });
        found.filter(|launch| launch.world > 1)
    }

    /// Whether this process leaves it to rank 0 to say what goes wrong in all processes.
    pub fn is_follower() -> bool {
        Self::detect().is_some_and(|launch| launch.rank > 0)
    }
}

/// Environment variables by which launchers and administrators restrict the devices of a process.
fn visible(backend: Backend) -> &'static [&'static str] {
    match backend {
        Backend::Cuda | Backend::LibtorchCuda => &["CUDA_VISIBLE_DEVICES"],
        Backend::Rocm => &["ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"],
        _ => &[],
    }
}

/// The device of this process: `choice`, with the process's local rank as index where a back end has
/// several devices and `choice` names no index.
///
/// # Errors
/// The machine has fewer GPUs than processes, and software would stand in for one.
pub fn device(choice: DeviceChoice) -> Result<DeviceChoice, Failure> {
    let launch = Launch::detect();
    let device = device_of(choice, launch, |name| env::var(name).ok());
    let hardware = device::hardware_adapters(device.backend);
    if let (Some(launch), Some(hardware), None) = (launch, hardware, choice.index)
        && (1..=launch.local).contains(&hardware)
    {
        return Err(Failure::usage(anyhow::anyhow!(
            "--device {choice}: process {} of this machine is one more than it has GPUs for {choice} \
             ({hardware}), and the next adapter is software: start at most {hardware} processes a machine, or \
             name the adapter of all of them, as in {choice}:0",
            launch.local + 1
        )));
    }
    Ok(device)
}

fn device_of(
    choice: DeviceChoice,
    launch: Option<Launch>,
    value: impl Fn(&str) -> Option<String>,
) -> DeviceChoice {
    let Some(launch) = launch else { return choice };
    if !choice.backend.has_several() || choice.index.is_some() {
        return choice;
    }
    // A process that sees a single device takes it: its launcher has assigned it already.
    let visible = visible(choice.backend).iter().find_map(|name| value(name));
    let own = visible.is_some_and(|list| !list.is_empty() && !list.contains(','));
    DeviceChoice { index: Some(if own { 0 } else { launch.local }), ..choice }
}

/// Opens the device, so that a missing one fails before anything else is read or written.
///
/// # Errors
/// When the program was built without the back end. A device that cannot be opened ends the process
/// with a message.
pub fn open(choice: DeviceChoice) -> Result<Device, Failure> {
    let device = choice.resolve().map_err(Failure::usage)?;
    if choice.backend != Backend::Cpu {
        // Burn cannot be asked whether a device exists: it panics at the first use, in any thread.
        failure::while_opening(&choice.to_string(), || device::use_once(&device));
    }
    Ok(device)
}

/// The processes of a job, and the MPI session that must live as long as they work together.
pub struct ProcessGroup {
    /// The ranks of the job; a group of one without a launcher.
    pub group: Group,
    #[cfg(feature = "mpi")]
    #[allow(dead_code, reason = "dropping it ends MPI")]
    job: Option<vssl::collective::mpi::Job>,
}

impl ProcessGroup {
    /// Joins the other processes of the job, if there are any. From then on an exchange waits at most
    /// `limit` for another process.
    ///
    /// # Errors
    /// When there are other processes and MPI was initialised by other code.
    #[cfg(feature = "mpi")]
    pub fn join(limit: Duration) -> Result<Self, Failure> {
        use vssl::collective::{
            CollectiveError,
            mpi::{self, Mpi},
        };
        if Launch::detect().is_none() {
            return Ok(Self { group: Group::alone(), job: None });
        }
        let job = mpi::start()
            .ok_or_else(|| Failure::from(anyhow::anyhow!("MPI was started before, by others")))?;
        let report = |error: &CollectiveError| Failure::from(error.clone()).print();
        let group = Group::new(Mpi::new(&job, limit, report));
        Ok(Self { group, job: Some(job) })
    }

    /// Does nothing for a single process.
    ///
    /// # Errors
    /// When there are other processes, because this program was built without MPI.
    #[cfg(not(feature = "mpi"))]
    pub fn join(_: Duration) -> Result<Self, Failure> {
        match Launch::detect() {
            None => Ok(Self { group: Group::alone() }),
            Some(Launch { world, .. }) => Err(Failure::usage(anyhow::anyhow!(
                "{world} processes were started together, but this program was built without MPI: \
                 build it with `cargo build --release --features mpi`, or start one process"
            ))),
        }
    }

    /// Prints what went wrong on this rank and ends the job. The other ranks give rank 0 time to print
    /// first: when all fail for the same reason, its message is the one that is seen.
    pub fn fail(&self, failure: Failure) -> Failure {
        // All processes of a job stop together, when they have saved.
        if self.group.is_alone() || matches!(failure, Failure::Interrupted) {
            return failure;
        }
        if !self.group.leads() {
            std::thread::sleep(Duration::from_millis(500));
        }
        failure.print();
        self.group.abort();
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_are_told_by_what_they_set() {
        let with = |set: &'static [(&str, &str)]| {
            Launch::from(|name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
            })
        };
        let open_mpi = [
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
        ];
        let launch = Launch { world: 4, rank: 3, local: 1 };
        assert_eq!(with(Box::leak(Box::new(open_mpi))), Some(launch));
        let slurm = with(&[("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_PROCID", "1")]);
        assert_eq!(slurm, Some(Launch { world: 2, rank: 1, local: 1 }));
        assert_eq!(with(&[("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0")]), None, "no srun");
        assert_eq!(with(&[("PMI_SIZE", "1"), ("PMI_RANK", "0")]), None, "one process");
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn each_process_of_a_machine_takes_a_device_of_its_own() {
        let launch = Some(Launch { world: 8, rank: 6, local: 2 });
        let of = |choice: &str, launch, visible: &'static [(&str, &str)]| {
            let value = |name: &str| {
                visible.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
            };
            device_of(choice.parse().unwrap(), launch, value).to_string()
        };
        for several in ["cuda", "rocm", "vulkan", "webgpu", "libtorch:cuda"] {
            assert_eq!(of(several, launch, &[]), format!("{several}:2"));
            assert_eq!(of(several, None, &[]), several, "one process: the back end's choice");
        }
        for alone in ["cpu", "metal", "libtorch", "cuda:0", "libtorch:cuda:3"] {
            assert_eq!(of(alone, launch, &[]), alone);
        }
        let one = &[("CUDA_VISIBLE_DEVICES", "3"), ("ROCR_VISIBLE_DEVICES", "GPU-5f")];
        for bound in ["cuda", "rocm", "libtorch:cuda"] {
            assert_eq!(of(bound, launch, one), format!("{bound}:0"), "it sees one device only");
        }
        assert_eq!(of("cuda", launch, &[("CUDA_VISIBLE_DEVICES", "4,5,6,7")]), "cuda:2");
        assert_eq!(of("cuda", launch, &[("CUDA_VISIBLE_DEVICES", "")]), "cuda:2");
        assert_eq!(of("vulkan", launch, one), "vulkan:2");
    }
}
