//! Carrying a script out.

use crate::machine::{AccessError, ExecError, Machine, MachineError, Mmap, MmapSource};
use crate::outcome::{Outcome, Ret};
use crate::script::{AreaSource, Expectation, Line, Name, Op};
use crate::settings::Settings;
use crate::{disk::Device, disk::Request};

/// How an operation ended, apart from what the machine tells itself.
struct Ended {
    ret: Ret,
    dead: bool,
    error: Option<String>,
    reason: Option<String>,
    report: Option<String>,
}

impl Ended {
    fn with(ret: Ret) -> Self {
        Self { ret, dead: false, error: None, reason: None, report: None }
    }

    fn error(text: String) -> Self {
        Self { error: Some(text), ..Self::with(Ret::MinusOne) }
    }

    /// Of an operation that returns 0 or −1, or an address or null.
    fn of(result: Result<Ret, MachineError>, refused: Ret) -> Self {
        match result {
            Ok(ret) => Self::with(ret),
            Err(
                error @ (MachineError::NoProcess | MachineError::UnknownPid(_) | MachineError::UsedPid(_)),
            ) => Self::error(error.to_string()),
            Err(error) => Self { reason: Some(error.to_string()), ..Self::with(refused) },
        }
    }

    fn of_access(result: Result<Ret, AccessError>) -> Self {
        match result {
            Ok(ret) => Self::with(ret),
            Err(AccessError::NoProcess) => Self::error(MachineError::NoProcess.to_string()),
            Err(AccessError::Killed(failure)) => {
                Self { dead: true, reason: Some(failure.to_string()), ..Self::with(Ret::MinusOne) }
            }
        }
    }
}

/// How a run went, so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// As expected.
    Well,
    /// Something else happened than was expected.
    Unexpected,
    /// A file could not be executed, and that was not expected.
    BadFile,
}

/// What an `expect` may ask about.
#[derive(Debug)]
struct Last {
    line: u32,
    ret: Ret,
    dead: bool,
}

/// A machine, and a script that is carried out on it.
#[derive(Debug)]
pub struct Runner {
    machine: Machine,
    done: u64,
    /// The last operation that was not an `expect`.
    last: Option<Last>,
    /// A failed `exec` that no `expect` has spoken of.
    unspoken: bool,
    failed: bool,
    bad_file: bool,
}

impl Runner {
    /// A machine on which nothing has been done.
    ///
    /// # Errors
    /// What is impossible about the settings.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let machine = Machine::new(settings)?;
        Ok(Self { machine, done: 0, last: None, unspoken: false, failed: false, bad_file: false })
    }

    /// The machine as it is now.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// How it went so far.
    pub fn ran(&self) -> Ran {
        if self.failed {
            Ran::Unexpected
        } else if self.bad_file || self.unspoken {
            Ran::BadFile
        } else {
            Ran::Well
        }
    }

    /// Carries out one operation.
    pub fn step(&mut self, line: &Line) -> Outcome {
        self.done += 1;
        self.machine.begin();
        let before = self.machine.current();
        let ended = self.carry_out(&line.op);
        let pid = match line.op {
            Op::Switch { .. } => self.machine.current(),
            _ => before,
        };
        let outcome = Outcome {
            n: self.done,
            line: line.number,
            op: line.op.word(),
            text: line.op.to_string(),
            pid: pid.map(|space| space.0),
            ret: ended.ret,
            dead: ended.dead,
            faults: self
                .machine
                .faults()
                .iter()
                .map(|(addr, how, served)| (*addr, *how, i8::from(*served) - 1))
                .collect(),
            io: self.machine.requests().iter().filter(|request| request.done).map(|r| self.io(r)).collect(),
            ptes: self.machine.current().map(|space| self.machine.page_lines(space)).unwrap_or_default(),
            error: ended.error,
            reason: ended.reason,
            report: ended.report,
        };
        if let Op::Expect(_) = line.op {
            self.failed |= outcome.ret == Ret::MinusOne;
            self.unspoken = false;
        } else {
            self.bad_file |= self.unspoken;
            self.unspoken = matches!(line.op, Op::Exec { .. }) && outcome.error.is_some() && pid.is_some();
            self.last = Some(Last { line: line.number, ret: outcome.ret.clone(), dead: outcome.dead });
        }
        outcome
    }

    fn io(&self, request: &Request) -> (crate::Direction, Vec<u8>, u64) {
        let name = match request.device {
            Device::Swap => b"swap".to_vec(),
            Device::File(file) => self.machine.file_name(file).to_vec(),
        };
        (request.direction, name, request.block)
    }

    fn carry_out(&mut self, op: &Op) -> Ended {
        let machine = &mut self.machine;
        let zero = |()| Ret::Zero;
        match op {
            Op::Create { parent, child } => {
                Ended::of(machine.create(*parent, *child).map(zero), Ret::MinusOne)
            }
            Op::Fork { child } => {
                let parent = machine.current().ok_or(MachineError::NoProcess);
                let result = parent.and_then(|parent| machine.create(parent.0, *child));
                Ended::of(result.map(zero), Ret::MinusOne)
            }
            Op::Switch { pid } => Ended::of(machine.switch(*pid).map(zero), Ret::MinusOne),
            Op::Destroy | Op::Exit => {
                Ended::of(machine.destroy().map(zero).map_err(MachineError::from), Ret::MinusOne)
            }
            Op::Map => Ended::of(machine.map().map(Ret::Address), Ret::Null),
            Op::MapFile { name: Name::Given(name), block } => {
                Ended::of(machine.map_file(c_string(name), *block).map(Ret::Address), Ret::Null)
            }
            Op::MapFile { name: Name::At(addr), block } => {
                Ended::of(machine.map_named(*addr, *block).map(Ret::Address), Ret::Null)
            }
            Op::Write { addr, data } => {
                if machine.current().is_none() {
                    return Ended::of_access(Err(AccessError::NoProcess));
                }
                Ended::of_access(machine.write(*addr, &data.pattern, data.count).map(zero))
            }
            Op::Read { addr, count } => {
                if machine.current().is_none() {
                    return Ended::of_access(Err(AccessError::NoProcess));
                }
                Ended::of_access(machine.read(*addr, *count).map(Ret::Bytes))
            }
            Op::Fetch { addr } => Ended::of_access(machine.fetch(*addr).map(|byte| Ret::Bytes(vec![byte]))),
            Op::Fault { addr, access } => match machine.current() {
                None => Ended::error(MachineError::NoProcess.to_string()),
                Some(space) => match machine.fault(space, *addr, *access) {
                    Ok(()) => Ended::with(Ret::Zero),
                    Err(failure) => Ended { reason: Some(failure.to_string()), ..Ended::with(Ret::MinusOne) },
                },
            },
            Op::Mmap { addr, len, prot, share, source } => {
                let source = match source {
                    AreaSource::Anonymous { replace } => MmapSource::Anonymous { replace: *replace },
                    AreaSource::File { name, offset } => MmapSource::File { name, offset: *offset },
                };
                let request = Mmap { addr: *addr, len: *len, prot: *prot, share: *share, source };
                Ended::of(machine.mmap(request).map(Ret::Address), Ret::Null)
            }
            Op::Munmap { addr, len } => Ended::of(machine.munmap(*addr, *len).map(zero), Ret::MinusOne),
            Op::Mprotect { addr, len, prot } => {
                Ended::of(machine.mprotect(*addr, *len, *prot).map(zero), Ret::MinusOne)
            }
            Op::Msync { addr, len } => Ended::of(machine.msync(*addr, *len).map(zero), Ret::MinusOne),
            Op::Exec { name } => match machine.exec(name) {
                Ok(_) => Ended::with(Ret::Zero),
                Err(error @ ExecError::Commit(_)) => {
                    Ended { reason: Some(error.to_string()), ..Ended::with(Ret::MinusOne) }
                }
                Err(error) => Ended::error(match error {
                    ExecError::NoProcess => error.to_string(),
                    _ => format!("{}: {error}", String::from_utf8_lossy(name)),
                }),
            },
            Op::Sp { addr } => Ended::of(machine.set_sp(*addr).map(zero), Ret::MinusOne),
            Op::Push { count } => Ended::of_access(machine.push(*count).map(zero)),
            Op::Fail { direction, file, block, on } => {
                machine.set_failing(*direction, file.as_deref(), *block, *on);
                Ended::with(Ret::Zero)
            }
            Op::Expect(expectation) => self.expect(expectation),
            Op::Dump => match machine.current() {
                None => Ended::error(MachineError::NoProcess.to_string()),
                Some(space) => Ended { report: Some(machine.dump(space)), ..Ended::with(Ret::Zero) },
            },
            Op::Stats => Ended { report: Some(machine.report()), ..Ended::with(Ret::Zero) },
        }
    }

    /// Whether the last operation did what is expected.
    fn expect(&self, expectation: &Expectation) -> Ended {
        let last = self.last.as_ref().expect("the parser sees to it that there is one");
        let met = match expectation {
            Expectation::Bytes(bytes) => last.ret == Ret::Bytes(bytes.clone()),
            Expectation::Ret(value) => is_ret(value, &last.ret),
            Expectation::Dead => last.dead,
        };
        if met {
            return Ended::with(Ret::Zero);
        }
        let death = if last.dead { ", dead" } else { "" };
        let reason = format!("line {} returned {}{death}", last.line, last.ret);
        Ended { reason: Some(reason), ..Ended::with(Ret::MinusOne) }
    }
}

/// A name up to its first zero byte, as C has it.
fn c_string(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Whether `value` stands for what was returned: as it is printed, or as an equal number.
fn is_ret(value: &str, ret: &Ret) -> bool {
    if *value == ret.to_string() {
        return true;
    }
    let number =
        value.strip_prefix("0x").map_or_else(|| value.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok());
    match ret {
        Ret::Address(addr) => number == Some(*addr),
        Ret::Zero => number == Some(0),
        Ret::Bytes(_) => value.eq_ignore_ascii_case(&ret.to_string()),
        Ret::MinusOne | Ret::Null => false,
    }
}
