//! From text to operations.

use super::token::{Kind, Token, column, tokens};
use super::{AreaSource, Data, Expectation, Line, MAX_READ, Name, Op};
use crate::disk::Direction;
use pager::space::{Access, Prot, Share};
use std::fmt;

/// What is wrong with a script, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Reads a whole script.
///
/// # Errors
/// The first mistake.
pub fn parse(script: &[u8]) -> Result<Vec<Line>, ScriptError> {
    let mut lines = Vec::new();
    let mut before = false;
    for (index, line) in script.split(|byte| *byte == b'\n').enumerate() {
        let number = index as u32 + 1;
        let mut words = Words { number, line, tokens: tokens(number, line)?.into_iter() };
        let Some(first) = words.tokens.next() else { continue };
        let op = words.op(&first)?;
        if let Some(more) = words.tokens.next() {
            return Err(words.error(more.column, format!("nothing may follow `{op}`")));
        }
        if matches!(op, Op::Expect(_)) && !before {
            return Err(words.error(first.column, "there is no operation before this `expect`".into()));
        }
        before = true;
        lines.push(Line { number, op });
    }
    Ok(lines)
}

/// What is left of a line.
struct Words<'a> {
    number: u32,
    line: &'a [u8],
    tokens: std::vec::IntoIter<Token>,
}

impl Words<'_> {
    fn error(&self, column: u32, message: String) -> ScriptError {
        ScriptError { line: self.number, column, message }
    }

    fn missing(&self, what: &str) -> ScriptError {
        let end = self.line.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
        self.error(column(self.line, end), format!("{what} is missing"))
    }

    fn next(&mut self, what: &str) -> Result<Token, ScriptError> {
        self.tokens.next().ok_or_else(|| self.missing(what))
    }

    fn wrong(&self, token: &Token, what: &str) -> ScriptError {
        let found = match &token.kind {
            Kind::Word(word) => format!("`{}`", word.escape_debug()),
            Kind::Text(_) => "a string".into(),
        };
        self.error(token.column, format!("{what} is wanted here, not {found}"))
    }

    /// The next word, which is one of a few.
    fn one_of<T: Copy>(&mut self, choices: &[(&str, T)]) -> Result<T, ScriptError> {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        let what = names.join(" or ");
        let token = self.next(&what)?;
        let found = match &token.kind {
            Kind::Word(word) => choices.iter().find(|(name, _)| name == word),
            Kind::Text(_) => None,
        };
        found.map(|(_, value)| *value).ok_or_else(|| self.wrong(&token, &what))
    }

    fn number(&mut self, what: &str) -> Result<u64, ScriptError> {
        let token = self.next(what)?;
        self.number_of(&token, what)
    }

    fn number_of(&self, token: &Token, what: &str) -> Result<u64, ScriptError> {
        match &token.kind {
            Kind::Word(word) => self.digits(word, token, what),
            Kind::Text(_) => Err(self.wrong(token, what)),
        }
    }

    fn digits(&self, word: &str, token: &Token, what: &str) -> Result<u64, ScriptError> {
        let (digits, radix) = word.strip_prefix("0x").map_or((word, 10), |digits| (digits, 16));
        if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
            return Err(self.wrong(token, what));
        }
        u64::from_str_radix(digits, radix)
            .map_err(|_| self.error(token.column, format!("{word} is more than 64 bits hold")))
    }

    fn pid(&mut self, what: &str) -> Result<u32, ScriptError> {
        let token = self.next(what)?;
        let number = self.number_of(&token, what)?;
        u32::try_from(number)
            .map_err(|_| self.error(token.column, format!("{number} is more than a pid can be")))
    }

    fn text(&mut self, what: &str) -> Result<Vec<u8>, ScriptError> {
        let token = self.next(what)?;
        match token.kind {
            Kind::Text(bytes) => Ok(bytes),
            Kind::Word(_) => Err(self.wrong(&token, what)),
        }
    }

    fn prot(&mut self) -> Result<Prot, ScriptError> {
        let what = "three letters of rights, like rw-,";
        let token = self.next("three letters of rights, like rw-,")?;
        match &token.kind {
            Kind::Word(word) => Prot::parse(word).ok_or_else(|| self.wrong(&token, what)),
            Kind::Text(_) => Err(self.wrong(&token, what)),
        }
    }

    fn op(&mut self, first: &Token) -> Result<Op, ScriptError> {
        let Kind::Word(word) = &first.kind else { return Err(self.wrong(first, "an operation")) };
        Ok(match word.as_str() {
            "create" => {
                Op::Create { parent: self.pid("the parent's pid")?, child: self.pid("the child's pid")? }
            }
            "fork" => Op::Fork { child: self.pid("the child's pid")? },
            "switch" => Op::Switch { pid: self.pid("a pid")? },
            "destroy" => Op::Destroy,
            "exit" => Op::Exit,
            "map" => self.map()?,
            "write" => Op::Write { addr: self.number("an address")?, data: self.data()? },
            "read" => {
                let addr = self.number("an address")?;
                let token = self.next("a number of bytes")?;
                let count = self.number_of(&token, "a number of bytes")?;
                if count > MAX_READ {
                    let message = format!("{count} bytes are more than one read may ask for: {MAX_READ}");
                    return Err(self.error(token.column, message));
                }
                Op::Read { addr, count }
            }
            "fetch" => Op::Fetch { addr: self.number("an address")? },
            "fault" => {
                let addr = self.number("an address")?;
                let kinds = [("r", Access::Read), ("w", Access::Write), ("x", Access::Execute)];
                Op::Fault { addr, access: self.one_of(&kinds)? }
            }
            "mmap" => self.mmap()?,
            "munmap" => Op::Munmap { addr: self.number("an address")?, len: self.number("a length")? },
            "mprotect" => Op::Mprotect {
                addr: self.number("an address")?,
                len: self.number("a length")?,
                prot: self.prot()?,
            },
            "msync" => Op::Msync { addr: self.number("an address")?, len: self.number("a length")? },
            "exec" => Op::Exec { name: self.text("a file's name in quotes")? },
            "sp" => Op::Sp { addr: self.number("an address")? },
            "push" => Op::Push { count: self.number("a number of bytes")? },
            "fail" => self.fail()?,
            "expect" => Op::Expect(self.expectation()?),
            "dump" => Op::Dump,
            "stats" => Op::Stats,
            _ => {
                let word = word.escape_debug();
                return Err(self.error(first.column, format!("`{word}` is not an operation")));
            }
        })
    }

    fn map(&mut self) -> Result<Op, ScriptError> {
        let Some(token) = self.tokens.next() else { return Ok(Op::Map) };
        let what = "a file's name in quotes, or @ADDR,";
        let name = match &token.kind {
            Kind::Text(name) => Name::Given(name.clone()),
            Kind::Word(word) => match word.strip_prefix('@') {
                Some(addr) => Name::At(self.digits(addr, &token, what)?),
                None => return Err(self.wrong(&token, what)),
            },
        };
        Ok(Op::MapFile { name, block: self.number("a block")? })
    }

    fn data(&mut self) -> Result<Data, ScriptError> {
        let what = "bytes in quotes, or BYTE*COUNT,";
        let token = self.next(what)?;
        let word = match token.kind {
            Kind::Text(pattern) => {
                let count = pattern.len() as u64;
                return Ok(Data { pattern, count });
            }
            Kind::Word(ref word) => word,
        };
        let (byte, count) = word.split_once('*').ok_or_else(|| self.wrong(&token, what))?;
        let byte = self.digits(byte, &token, what)?;
        let byte = u8::try_from(byte)
            .map_err(|_| self.error(token.column, format!("{byte} is more than a byte holds: 255")))?;
        Ok(Data { pattern: vec![byte], count: self.digits(count, &token, what)? })
    }

    fn mmap(&mut self) -> Result<Op, ScriptError> {
        let token = self.next("an address, or any,")?;
        let addr = match &token.kind {
            Kind::Word(word) if word == "any" => None,
            _ => Some(self.number_of(&token, "an address, or any,")?),
        };
        let len = self.number("a length")?;
        let prot = self.prot()?;
        let share = self.one_of(&[("shared", Share::Shared), ("private", Share::Private)])?;
        let what = "a file's name in quotes, or anon,";
        let token = self.next(what)?;
        let source = match token.kind {
            Kind::Text(name) => AreaSource::File { name, offset: self.number("an offset")? },
            Kind::Word(ref word) if word == "anon" => {
                let replace = match self.tokens.next() {
                    None => false,
                    Some(token) if token.kind == Kind::Word("replace".into()) => true,
                    Some(token) => return Err(self.wrong(&token, "`replace`, or nothing,")),
                };
                AreaSource::Anonymous { replace }
            }
            Kind::Word(_) => return Err(self.wrong(&token, what)),
        };
        Ok(Op::Mmap { addr, len, prot, share, source })
    }

    fn fail(&mut self) -> Result<Op, ScriptError> {
        let direction = self.one_of(&[("read", Direction::Read), ("write", Direction::Write)])?;
        let what = "a file's name in quotes, or swap,";
        let token = self.next(what)?;
        let file = match token.kind {
            Kind::Text(name) => Some(name),
            Kind::Word(ref word) if word == "swap" => None,
            Kind::Word(_) => return Err(self.wrong(&token, what)),
        };
        let block = self.number("a block")?;
        let on = self.one_of(&[("on", true), ("off", false)])?;
        Ok(Op::Fail { direction, file, block, on })
    }

    fn expectation(&mut self) -> Result<Expectation, ScriptError> {
        let what = "bytes in quotes, ret, or dead,";
        let token = self.next(what)?;
        match token.kind {
            Kind::Text(bytes) => Ok(Expectation::Bytes(bytes)),
            Kind::Word(ref word) if word == "dead" => Ok(Expectation::Dead),
            Kind::Word(ref word) if word == "ret" => {
                let value = self.next("a value")?;
                match value.kind {
                    Kind::Word(word) => Ok(Expectation::Ret(word)),
                    Kind::Text(_) => Err(self.wrong(&value, "a value without quotes")),
                }
            }
            Kind::Word(_) => Err(self.wrong(&token, what)),
        }
    }
}
