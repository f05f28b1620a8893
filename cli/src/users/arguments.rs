//! The command line of `althing users`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `althing users`
#[derive(Subcommand, Debug)]
pub enum UsersCommand {
    /// Add a user
    Add {
        /// Its name
        name: String,
        /// A group that it is in, repeatable
        #[arg(short, long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        password: PasswordArguments,
        #[command(flatten)]
        file: FileArguments,
    },
    /// Remove users; a running broker ends their sessions
    Rm {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        file: FileArguments,
    },
    /// List the users with their groups, and what they can prove themselves by
    Ls {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        file: FileArguments,
    },
    /// Give a user another password
    Passwd {
        /// Its name
        name: String,
        #[command(flatten)]
        password: PasswordArguments,
        #[command(flatten)]
        file: FileArguments,
    },
    /// Put a user into these groups and no others
    Groups {
        /// Its name
        name: String,
        /// The groups
        #[arg(required_unless_present = "none")]
        groups: Vec<String>,
        /// Take it out of all groups
        #[arg(long, conflicts_with = "groups")]
        none: bool,
        #[command(flatten)]
        file: FileArguments,
    },
}

/// Which users file.
#[derive(Args, Debug)]
pub struct FileArguments {
    /// The users file [default: `users` in the data directory]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The broker's data directory
    #[arg(long, value_name = "DIR", default_value = "./althing-data", conflicts_with = "file")]
    pub data: PathBuf,
}

/// Where the password comes from. When nothing is said it is asked for, or is the first line of stdin when that is no terminal.
#[derive(Args, Debug)]
pub struct PasswordArguments {
    /// A file whose first line is the password
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// The password; other users of this machine can see it in the process list
    #[arg(long, value_name = "PASSWORD", conflicts_with = "password_file", allow_hyphen_values = true)]
    pub password: Option<String>,
    /// Store keys for SCRAM, too, so that the user can prove itself without telling its password
    ///
    /// They can be attacked faster than the hash alone if the file is stolen. The password has to be of printable ASCII
    /// characters.
    #[arg(long)]
    pub scram: bool,
}
