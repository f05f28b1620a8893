import type { ComponentChildren } from "preact";
import { Icon } from "./Icon";

export interface Column<Row> {
  key: string;
  title: string;
  cell: (row: Row) => ComponentChildren;
  /** Numbers stand at the right. */
  numeric?: boolean;
  sortable?: boolean;
  /** The title is heard and not seen. */
  untitled?: boolean;
}

export interface Sort {
  key: string;
  descending: boolean;
}

interface Props<Row> {
  /** What the table shows, for those who hear it. */
  label: string;
  columns: Column<Row>[];
  rows: Row[];
  rowKey: (row: Row) => string | number;
  /** What to say when there is nothing. */
  empty: string;
  sort?: Sort;
  onSort?: (sort: Sort) => void;
  selected?: string | number;
  onSelect?: (row: Row) => void;
}

/** A table that scrolls sideways in its own box. */
export function Table<Row>({ label, columns, rows, rowKey, empty, sort, onSort, selected, onSelect }: Props<Row>) {
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            {columns.map((column) => (
              <Head key={column.key} column={column} sort={sort} onSort={onSort} />
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const key = rowKey(row);
            return (
              <tr
                key={key}
                class={onSelect ? "selectable" : undefined}
                aria-selected={onSelect ? key === selected : undefined}
                onClick={onSelect && (() => onSelect(row))}
              >
                {columns.map((column) => (
                  <td key={column.key} class={column.numeric ? "numeric" : undefined}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
      {rows.length === 0 && <p class="empty">{empty}</p>}
    </div>
  );
}

interface HeadProps<Row> {
  column: Column<Row>;
  sort: Sort | undefined;
  onSort: ((sort: Sort) => void) | undefined;
}

function Head<Row>({ column, sort, onSort }: HeadProps<Row>) {
  const kind = column.numeric ? "numeric" : undefined;
  if (!column.sortable || !onSort) {
    return (
      <th scope="col" class={kind}>
        {column.untitled ? <span class="visually-hidden">{column.title}</span> : column.title}
      </th>
    );
  }
  const mine = sort?.key === column.key ? sort : undefined;
  const order = mine ? (mine.descending ? "descending" : "ascending") : "none";
  return (
    <th scope="col" class={kind} aria-sort={order}>
      <button type="button" onClick={() => onSort({ key: column.key, descending: mine ? !mine.descending : false })}>
        {column.title}
        {mine && <Icon name={mine.descending ? "down" : "up"} />}
      </button>
    </th>
  );
}
