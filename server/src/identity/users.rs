//! The users file: one user a line, `NAME:HASH:GROUPS:SCRAM…`, where what follows the hash may be missing. So a password file of
//! mosquitto is one, too. Groups are separated by commas. Lines that are empty or begin with `#` are kept as they are.

use super::hash::Hash;
use super::scram::Keys;
use bytestring::ByteString;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What a users file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Comment(String),
    User(User),
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: ByteString,
    /// The password's hash.
    pub hash: Hash,
    /// What groups it is in.
    pub groups: Vec<ByteString>,
    /// What it can prove itself by without telling its password, a mechanism each.
    pub scram: Vec<Keys>,
}

/// Why a users file was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A line is none.
    #[error("{}:{line}: {expected}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        expected: String,
    },
    /// What was asked for does not go together with the file.
    #[error("{0}")]
    Request(String),
}

const HEADER: &str = "# Users of Althing, one a line: NAME:HASH:GROUPS:SCRAM…; written by `althing users`";

/// A longer name is more likely a mistake, and every log line would carry it.
const NAME_BYTES_MAX: usize = 256;

impl Users {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or a line of it is wrong.
    pub fn load(path: &Path) -> Result<Self, UsersError> {
        let wrong = |line, expected| Err(UsersError::Line { path: path.to_owned(), line, expected });
        Self::parse(&read(path)?, wrong)
    }

    /// Reads a password file of mosquitto as mosquitto does: what is no line is left out, and of a name that is there twice the
    /// last line holds. What was wrong is told in a sentence each.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load_of_mosquitto(path: &Path) -> Result<(Self, Vec<String>), UsersError> {
        let mut warnings = Vec::new();
        let users = Self::parse(&read(path)?, |line, expected| {
            warnings.push(format!("{}:{line}: {expected}", path.display()));
            Ok(())
        })?;
        Ok((users, warnings))
    }

    /// Reads the file at `path`, or begins a new one, lets `change` change it, and puts the result in its place at once:
    /// whoever reads finds the old file or the new one. Others that do the same wait meanwhile.
    ///
    /// # Errors
    /// When `change` or the system says no; the file is as it was then.
    pub fn change<T>(path: &Path, change: impl FnOnce(&mut Self) -> Result<T, UsersError>) -> Result<T, UsersError> {
        let failed = |error| UsersError::File { path: path.to_owned(), error };
        // The name may be a link; what it leads to is replaced.
        let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(failed)?;
        let directory = File::open(parent).map_err(failed)?;
        directory.lock().map_err(failed)?;
        let mut users = match Self::load(path) {
            Err(UsersError::File { error, .. }) if error.kind() == ErrorKind::NotFound => {
                Self { lines: vec![Line::Comment(HEADER.to_owned())] }
            }
            read => read?,
        };
        let result = change(&mut users)?;
        users.save(path, &directory).map_err(failed)?;
        Ok(result)
    }

    fn save(&self, path: &Path, directory: &File) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        // What a killed process has left there is of no use; the directory's lock is ours.
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let written = file.write_all(self.to_string().as_bytes()).and_then(|()| {
            // Whoever could read the old one can read the new one: the broker may run as somebody else.
            let (mode, owner) = match fs::metadata(path) {
                Ok(old) => (old.permissions(), old),
                Err(_) => (Permissions::from_mode(0o600), directory.metadata()?),
            };
            let ours = file.metadata()?;
            if (owner.uid(), owner.gid()) != (ours.uid(), ours.gid()) {
                fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
            }
            file.set_permissions(mode)?;
            file.sync_all()?;
            fs::rename(&new, path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written?;
        directory.sync_all()
    }

    /// Reads text; `wrong` is told of each line that is none or names somebody again, with its number, and says whether that is
    /// the end. If not, the line is left out, or takes the place of the earlier one.
    fn parse<E>(text: &str, mut wrong: impl FnMut(usize, String) -> Result<(), E>) -> Result<Self, E> {
        let mut users = Self::default();
        let mut places = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if line.trim().is_empty() || line.starts_with('#') {
                users.lines.push(Line::Comment(line.to_owned()));
                continue;
            }
            let user: User = match line.parse() {
                Ok(user) => user,
                Err(expected) => {
                    wrong(number, expected)?;
                    continue;
                }
            };
            if let Some(earlier) = places.insert(user.name.clone(), number) {
                wrong(number, format!("{:?} is already on line {earlier}", &user.name[..]))?;
                users.lines.retain(|line| !matches!(line, Line::User(other) if other.name == user.name));
            }
            users.lines.push(Line::User(user));
        }
        Ok(users)
    }

    /// Everyone, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.lines.iter().filter_map(|line| match line {
            Line::User(user) => Some(user),
            Line::Comment(_) => None,
        })
    }

    /// Adds a user.
    ///
    /// # Errors
    /// When there is one of this name, or the names do not fit into the file.
    pub fn add(&mut self, user: User) -> Result<(), UsersError> {
        check_name(&user.name).map_err(UsersError::Request)?;
        user.groups.iter().try_for_each(|group| check_group(group)).map_err(UsersError::Request)?;
        if self.iter().any(|other| other.name == user.name) {
            return Err(UsersError::Request(format!("there is a user {:?} already", &user.name[..])));
        }
        self.lines.push(Line::User(user));
        Ok(())
    }

    /// Takes a user away.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn remove(&mut self, name: &str) -> Result<(), UsersError> {
        self.get_mut(name)?;
        self.lines.retain(|line| !matches!(line, Line::User(user) if user.name == *name));
        Ok(())
    }

    /// A user, to be changed.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn get_mut(&mut self, name: &str) -> Result<&mut User, UsersError> {
        let found = self.lines.iter_mut().find_map(|line| match line {
            Line::User(user) if user.name == *name => Some(user),
            _ => None,
        });
        found.ok_or_else(|| UsersError::Request(format!("there is no user {name:?}")))
    }
}

impl User {
    /// A user with this password, and keys for SCRAM if `scram`.
    ///
    /// # Errors
    /// When the password cannot be used, or the system has no randomness.
    pub fn new(name: &str, password: &str, groups: &[String], scram: bool) -> Result<Self, UsersError> {
        let hash = Hash::new(password.as_bytes()).map_err(UsersError::Request)?;
        let groups = groups.iter().map(|group| group.as_str().into()).collect();
        let mut user = Self { name: name.into(), hash, groups, scram: Vec::new() };
        if scram {
            user.scram = Keys::of_every_mechanism(password).map_err(UsersError::Request)?;
        }
        Ok(user)
    }

    /// Gives it another password, and new keys for SCRAM if `scram`.
    ///
    /// # Errors
    /// See [`new`](Self::new).
    pub fn set_password(&mut self, password: &str, scram: bool) -> Result<(), UsersError> {
        let User { hash, scram, .. } = Self::new(&self.name, password, &[], scram)?;
        (self.hash, self.scram) = (hash, scram);
        Ok(())
    }

    /// Puts it into these groups and no others.
    ///
    /// # Errors
    /// When a name cannot be written into the file.
    pub fn set_groups(&mut self, groups: &[String]) -> Result<(), UsersError> {
        groups.iter().try_for_each(|group| check_group(group)).map_err(UsersError::Request)?;
        self.groups = groups.iter().map(|group| group.as_str().into()).collect();
        Ok(())
    }
}

impl FromStr for User {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        check_name(name)?;
        let hash = fields.next().ok_or("expected NAME:HASH, but there is no colon")?.trim_end().parse()?;
        let groups = fields.next().unwrap_or_default().split(',').filter(|group| !group.is_empty());
        let groups =
            groups.map(|group| check_group(group).map(|()| ByteString::from(group))).collect::<Result<_, _>>()?;
        let scram = fields.map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { name: name.into(), hash, groups, scram })
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('#') || !is_field(name) {
        return Err(format!(
            "{name:?} cannot be a user's name: 1 to {NAME_BYTES_MAX} bytes without `:`, control characters and a `#` in front"
        ));
    }
    Ok(())
}

fn check_group(group: &str) -> Result<(), String> {
    if group.is_empty() || group.contains([',', ' ']) || !is_field(group) {
        return Err(format!("{group:?} cannot be a group's name: no `:`, `,`, spaces and control characters"));
    }
    Ok(())
}

fn is_field(text: &str) -> bool {
    !text.contains(|character: char| character == ':' || character.is_control())
}

impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| match line {
            Line::Comment(text) => writeln!(f, "{text}"),
            Line::User(user) => writeln!(f, "{user}"),
        })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.hash)?;
        if !self.groups.is_empty() || !self.scram.is_empty() {
            let groups: Vec<&str> = self.groups.iter().map(|group| &group[..]).collect();
            write!(f, ":{}", groups.join(","))?;
        }
        self.scram.iter().try_for_each(|keys| write!(f, ":{keys}"))
    }
}

fn read(path: &Path) -> Result<String, UsersError> {
    fs::read_to_string(path).map_err(|error| UsersError::File { path: path.to_owned(), error })
}

/// A sentence when others than the owner may read the file.
pub fn too_open(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    let mut text = String::new();
    if mode & 0o077 != 0 {
        let _ = write!(
            text,
            "{0} may be read or written by others (mode {1:03o}): chmod 600 {0}",
            path.display(),
            mode & 0o777
        );
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGON2ID: &str = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    fn strictly(text: &str) -> Result<Users, (usize, String)> {
        Users::parse(text, |line, expected| Err((line, expected)))
    }

    #[test]
    fn a_file_is_written_as_it_was_read() {
        let text = format!("# us\nalice:{ARGON2ID}:admin,floor\n\nbob smith:{ARGON2ID}\n");
        let users = strictly(&text).unwrap();
        assert_eq!(users.to_string(), text);
        let names: Vec<(&str, usize)> = users.iter().map(|user| (&user.name[..], user.groups.len())).collect();
        assert_eq!(names, [("alice", 2), ("bob smith", 0)]);
    }

    #[test]
    fn a_wrong_line_is_told_with_its_number() {
        for (text, line, expected) in [
            (format!("a:{ARGON2ID}\nb:{ARGON2ID}\na:{ARGON2ID}\n"), 3, "\"a\" is already on line 1"),
            (format!("\n:{ARGON2ID}\n"), 2, "cannot be a user's name"),
            ("alice\n".into(), 1, "there is no colon"),
            ("alice:secret\n".into(), 1, "must begin with $argon2id$"),
            (format!("a:{ARGON2ID}:x y\n"), 1, "cannot be a group's name"),
            (format!("a:{ARGON2ID}:x:SCRAM-MD5$1$a$b$c\n"), 1, "SCRAM-SHA-256"),
        ] {
            let (number, error) = strictly(&text).unwrap_err();
            assert_eq!(number, line, "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_file_of_mosquitto_is_read_as_mosquitto_does() {
        let directory = crate::identity::testing::Directory::new();
        let other = ARGON2ID.replace("CTFh", "CTFi");
        let path = directory.file("passwd", &format!("a:{ARGON2ID}\nplain:text\na:{other}\n"));
        let (users, warnings) = Users::load_of_mosquitto(&path).unwrap();
        let hashes: Vec<String> = users.iter().map(|user| user.hash.to_string()).collect();
        assert_eq!(hashes, [other]);
        assert!(
            warnings[0].contains("passwd:2: ") && warnings[1].contains("passwd:3: \"a\" is already"),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_file_is_changed_as_a_whole_or_not_at_all() {
        let directory = crate::identity::testing::Directory::new();
        let path = directory.path("users");
        let user = User { name: "alice".into(), hash: ARGON2ID.parse().unwrap(), groups: vec![], scram: vec![] };
        Users::change(&path, |users| users.add(user.clone())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(too_open(&path), None);
        let before = fs::read_to_string(&path).unwrap();
        let error = Users::change(&path, |users| users.add(user.clone())).unwrap_err();
        assert_eq!(error.to_string(), "there is a user \"alice\" already");
        Users::change(&path, |users| users.remove("bob")).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(too_open(&path).unwrap().contains("mode 640"));
        Users::change(&path, |users| users.get_mut("alice")?.set_groups(&["floor".into()])).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "the mode is the owner's choice");
        assert!(fs::read_to_string(&path).unwrap().ends_with(":floor\n"));
        Users::change(&path, |users| users.remove("alice")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{HEADER}\n"));
    }
}
