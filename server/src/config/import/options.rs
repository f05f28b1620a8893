//! Options that hold for the whole broker.

use super::Imported;
use super::lines::Line;

/// Carries an option over, or says why not.
pub fn take(line: &Line, imported: &mut Imported) {
    let value = line.value.as_str();
    match line.option.as_str() {
        "persistence" if !line.is_true() => imported.set(Some(line), "store.durability", "memory"),
        "persistence" => imported.set(Some(line), "store.durability", "sync"),
        "persistence_location" | "persistence_file" => imported.leave_out(
            line,
            "what mosquitto has stored stays there; the broker keeps its own in server.data (./althing-data)",
        ),
        "persistent_client_expiration" => match seconds(value) {
            Some(seconds) => imported.set(Some(line), "limits.session_expiry_s_max", seconds),
            None => imported.leave_out(line, "it takes a number and h, d, w, m or y"),
        },
        "max_keepalive" => number(line, "limits.keep_alive_s_max", 65_535, imported),
        "max_packet_size" => number(line, "limits.packet_bytes_max", 268_435_460, imported),
        "message_size_limit" => unless_zero(line, "quotas.default.message_bytes_max", imported),
        "max_inflight_messages" => number(line, "limits.inflight_max", 65_535, imported),
        "max_queued_messages" => number(line, "limits.queue_messages_max", i64::MAX, imported),
        "max_queued_bytes" => number(line, "limits.queue_bytes_max", i64::MAX, imported),
        "queue_qos0_messages" => imported.set(Some(line), "limits.queue_at_most_once", line.is_true()),
        "sys_interval" => number(line, "server.sys_interval_s", 0, imported),
        "log_dest" => log_destination(line, imported),
        "log_type" => log_type(line, imported),
        // Always so here, or without a meaning.
        "allow_duplicate_messages"
        | "autosave_interval"
        | "autosave_on_changes"
        | "check_retain_source"
        | "connection_messages"
        | "log_timestamp"
        | "log_timestamp_format"
        | "retry_interval"
        | "set_tcp_nodelay"
        | "store_clean_interval"
        | "upgrade_outgoing_qos" => {}
        "allow_zero_length_clientid" | "retain_available" if line.is_true() => {}
        "auto_id_prefix" | "allow_zero_length_clientid" => {
            imported.leave_out(line, "clients without an id always get one of the broker's");
        }
        "retain_available" => imported.leave_out(
            line,
            "a rule can say that: { actions = [\"retain\"], topic = \"#\", allow = false } in authorisation.rules",
        ),
        "clientid_prefixes" => imported.leave_out(line, "rules can ask for a client id, but not for how it begins"),
        "memory_limit" | "max_inflight_bytes" => {
            imported.leave_out(line, "queues and buffers have bounds of their own: `althing config explain limits`");
        }
        "user" | "pid_file" => imported.leave_out(line, "this is the service manager's business, as in the unit file"),
        "plugin" | "global_plugin" | "auth_plugin" | "plugin_load" => {
            imported
                .leave_out(line, "mosquitto's plugins cannot be loaded; [identity.http] asks a service of your own");
        }
        "plugin_opt" | "auth_plugin_deny_special_chars" | "plugin_use" => {}
        option if option.starts_with("auth_opt_") || option.starts_with("plugin_opt_") => {}
        _ => imported.leave_out(line, "there is nothing like it here"),
    }
}

/// 0 says that there is no bound; `without` is as good as none.
fn number(line: &Line, key: &str, without: i64, imported: &mut Imported) {
    match line.value.parse::<u32>() {
        Ok(0) => imported.set(Some(line), key, without),
        Ok(number) => imported.set(Some(line), key, i64::from(number)),
        Err(_) => imported.leave_out(line, "it takes a whole number"),
    }
}

fn unless_zero(line: &Line, key: &str, imported: &mut Imported) {
    match line.value.parse::<u32>() {
        Ok(0) => {}
        Ok(number) => imported.set(Some(line), key, i64::from(number)),
        Err(_) => imported.leave_out(line, "it takes a whole number"),
    }
}

/// `2d` for two days.
fn seconds(value: &str) -> Option<i64> {
    const HOUR: i64 = 3_600;
    let unit = match value.chars().next_back()? {
        'h' => HOUR,
        'd' => 24 * HOUR,
        'w' => 7 * 24 * HOUR,
        'm' => 30 * 24 * HOUR,
        'y' => 365 * 24 * HOUR,
        _ => return None,
    };
    let number: u32 = value[..value.len() - 1].trim().parse().ok()?;
    Some((i64::from(number) * unit).min(u32::MAX.into()))
}

fn log_destination(line: &Line, imported: &mut Imported) {
    match line.value.split_once(char::is_whitespace) {
        Some(("file", path)) => imported.set(Some(line), "log.file", path.trim()),
        _ if matches!(line.value.as_str(), "stderr" | "stdout") => {}
        _ => imported.leave_out(line, "the log goes to standard error or to a file: log.file"),
    }
}

/// Several lines add up.
fn log_type(line: &Line, imported: &mut Imported) {
    const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];
    let level = match line.value.as_str() {
        "error" => 0,
        "warning" => 1,
        "notice" | "information" => 2,
        "debug" | "all" => 3,
        "subscribe" | "unsubscribe" | "websockets" | "internal" => return,
        _ => return imported.leave_out(line, "log.level takes error, warn, info, debug or trace"),
    };
    let said = imported.settings.iter().find(|setting| setting.key == "log.level");
    let before = said.and_then(|setting| LEVELS.iter().position(|name| setting.value.as_str() == Some(name)));
    if before.is_none_or(|before| before < level) {
        imported.set(Some(line), "log.level", LEVELS[level]);
    }
}
