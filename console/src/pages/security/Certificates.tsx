import { date, duration } from "../../format";
import { Badge } from "../../parts/Badge";
import { CopyButton } from "../../parts/Copy";
import { Table } from "../../parts/Table";
import { t } from "../../texts";
import { useLoaded } from "../../useLoaded";

interface Certificate {
  file: string;
  subject: string;
  role: string;
  not_after_s: number;
  expires_in_s: number;
  names: string[];
  fingerprint: string;
  listeners: string[];
}

/** The last month is the time to renew. */
const SOON_S = 30 * 86_400;
const URGENT_S = 7 * 86_400;

/** What the listeners show and accept, and when it ends. */
export function Certificates() {
  const { data, problem } = useLoaded<Certificate[]>("/api/v1/certificates");
  const sorted = [...(data ?? [])].sort((a, b) => a.expires_in_s - b.expires_in_s);
  return (
    <section class="card">
      <h2>{t.security.certificates}</h2>
      {problem && <p class="error">{problem}</p>}
      {data && (
        <Table
          label={t.security.certificates}
          rows={sorted}
          rowKey={(it) => it.file + it.fingerprint}
          empty={t.security.noCertificates}
          columns={[
            { key: "ends", title: t.security.ends, cell: (it) => <Expiry certificate={it} /> },
            { key: "subject", title: t.security.subject, cell: (it) => <span class="break">{it.subject}</span> },
            { key: "role", title: t.security.role, cell: (it) => it.role },
            { key: "names", title: t.security.names, cell: (it) => it.names.join(", ") || "–" },
            { key: "listeners", title: t.security.listeners, cell: (it) => it.listeners.join(", ") || "–" },
            {
              key: "file",
              title: t.security.file,
              cell: (it) => (
                <>
                  <code class="break">{it.file}</code>
                  <span class="row tight small muted">
                    <code class="ellipsis fingerprint" title={it.fingerprint}>
                      {it.fingerprint}
                    </code>
                    <CopyButton text={it.fingerprint} label={t.security.copyFingerprint} />
                  </span>
                </>
              ),
            },
          ]}
        />
      )}
    </section>
  );
}

function Expiry({ certificate: { expires_in_s, not_after_s } }: { certificate: Certificate }) {
  const left = duration(expires_in_s);
  const tone = expires_in_s < URGENT_S ? "bad" : expires_in_s < SOON_S ? "warning" : "good";
  return (
    <>
      <Badge tone={tone}>{expires_in_s < 0 ? t.security.ended(left) : t.security.endsIn(left)}</Badge>
      <div class="small muted">{date(not_after_s * 1000)}</div>
    </>
  );
}
