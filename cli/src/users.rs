//! `althing users`: who may log in, as the users file has it. A running broker reads the file anew when it has changed.

mod arguments;
mod password;

pub use arguments::UsersCommand;

use crate::exit::{ExitCode, Failure};
use crate::output::write_stdout;
use althing_server::identity::users::{User, Users, UsersError};
use arguments::FileArguments;
use serde_json::json;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Does what the command says.
pub fn run(command: &UsersCommand) -> Result<ExitCode, Failure> {
    match command {
        UsersCommand::Add { name, groups, password, file } => {
            // Asked for only when there is a use for it.
            is_new(name, &file.path())?;
            let user = User::new(name, &password::read(password)?, groups, password.scram).map_err(failed)?;
            change(file, |users| users.add(user), &format!("{name:?} is added to"))
        }
        UsersCommand::Rm { names, file } => {
            let remove = |users: &mut Users| names.iter().try_for_each(|name| users.remove(name));
            change(file, remove, &format!("{} removed from", names.join(", ")))
        }
        UsersCommand::Ls { json, file } => list(&file.path(), *json),
        UsersCommand::Passwd { name, password, file } => {
            let mut user = find(name, &file.path())?;
            // Who could prove itself by SCRAM still can.
            let scram = password.scram || !user.scram.is_empty();
            user.set_password(&password::read(password)?, scram).map_err(failed)?;
            let User { hash, scram, .. } = user;
            let replace = |users: &mut Users| users.get_mut(name).map(|user| (user.hash, user.scram) = (hash, scram));
            change(file, replace, &format!("{name:?} has another password in"))
        }
        UsersCommand::Groups { name, groups, file, .. } => change(
            file,
            |users| users.get_mut(name)?.set_groups(groups),
            &format!("{name:?} is put into its groups in"),
        ),
    }
}

impl FileArguments {
    fn path(&self) -> PathBuf {
        self.file.clone().unwrap_or_else(|| self.data.join("users"))
    }
}

fn change(
    file: &FileArguments,
    change: impl FnOnce(&mut Users) -> Result<(), UsersError>,
    done: &str,
) -> Result<ExitCode, Failure> {
    let path = file.path();
    Users::change(&path, change).map_err(failed)?;
    write_stdout(format!("{done} {}\n", path.display()).as_bytes())?;
    Ok(ExitCode::Ok)
}

/// The users, none where there is no file yet.
fn load(path: &Path) -> Result<Users, Failure> {
    match Users::load(path) {
        Err(UsersError::File { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(Users::default()),
        users => users.map_err(failed),
    }
}

fn find(name: &str, path: &Path) -> Result<User, Failure> {
    load(path)?.get_mut(name).cloned().map_err(failed)
}

fn is_new(name: &str, path: &Path) -> Result<(), Failure> {
    if find(name, path).is_ok() {
        return Err(Failure::usage(format!(
            "there is a user {name:?} already; `althing users passwd` changes its password"
        )));
    }
    load(path).map(|_| ())
}

fn list(path: &Path, json: bool) -> Result<ExitCode, Failure> {
    let users = Users::load(path).map_err(failed)?;
    let mut text = String::new();
    for user in users.iter() {
        let groups: Vec<&str> = user.groups.iter().map(|group| &group[..]).collect();
        let scram: Vec<&str> = user.scram.iter().map(|keys| keys.mechanism().name()).collect();
        let line = if json {
            json!({ "name": &user.name[..], "groups": groups, "hash": user.hash.kind(), "scram": scram }).to_string()
        } else {
            let proofs = [&[user.hash.kind()], &scram[..]].concat().join(", ");
            format!(
                "{:20} {:20} {proofs}",
                &user.name[..],
                if groups.is_empty() { "-".into() } else { groups.join(",") }
            )
        };
        text.push_str(&line);
        text.push('\n');
    }
    write_stdout(text.as_bytes())?;
    Ok(ExitCode::Ok)
}

fn failed(error: UsersError) -> Failure {
    let code = match &error {
        UsersError::File { error, .. } if error.kind() != ErrorKind::NotFound => ExitCode::Runtime,
        _ => ExitCode::Usage,
    };
    Failure::new(code, error.to_string())
}
