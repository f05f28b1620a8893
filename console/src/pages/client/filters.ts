/** Whether a topic name is one of a filter's (MQTT 5.0 §4.7); a share is looked through. */
export function matches(filter: string, topic: string): boolean {
  const shared = /^\$share\/[^/]+\/(.*)$/s.exec(filter);
  const wanted = (shared ? shared[1]! : filter).split("/");
  const levels = topic.split("/");
  // [MQTT-4.7.2-1]
  if (topic.startsWith("$") && (wanted[0] === "+" || wanted[0] === "#")) return false;
  for (let level = 0; level < wanted.length; level++) {
    if (wanted[level] === "#") return true;
    if (level >= levels.length) return false;
    if (wanted[level] !== "+" && wanted[level] !== levels[level]) return false;
  }
  return wanted.length === levels.length;
}

/** Why a filter is none, or nothing. */
export function filterMistake(filter: string): "empty" | "hash" | "plus" | "share" | null {
  if (filter === "") return "empty";
  if (filter.startsWith("$share/") && !/^\$share\/[^/+#]+\/./s.test(filter)) return "share";
  const levels = filter.split("/");
  if (levels.some((level, index) => level.includes("#") && (level !== "#" || index !== levels.length - 1))) return "hash";
  return levels.some((level) => level.includes("+") && level !== "+") ? "plus" : null;
}
