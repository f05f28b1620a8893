import { Button } from "./Button";
import { Icon } from "./Icon";

interface Props {
  legend: string;
  nameLabel: string;
  valueLabel: string;
  addLabel: string;
  removeLabel: string;
  pairs: [string, string][];
  onChange: (pairs: [string, string][]) => void;
}

/** Names with values, as many as are wanted. */
export function Pairs({ legend, nameLabel, valueLabel, addLabel, removeLabel, pairs, onChange }: Props) {
  const change = (index: number, part: 0 | 1, text: string) =>
    onChange(pairs.map((pair, at) => (at !== index ? pair : part === 0 ? [text, pair[1]] : [pair[0], text])));
  return (
    <div class="pairs" role="group" aria-label={legend}>
      <div class="row apart">
        <span class="legend">{legend}</span>
        <Button kind="quiet" onClick={() => onChange([...pairs, ["", ""]])} aria-label={addLabel} title={addLabel}>
          <Icon name="plus" />
        </Button>
      </div>
      {pairs.map(([name, value], index) => (
        <div class="pair" key={index}>
          <input aria-label={nameLabel} value={name} onInput={(e) => change(index, 0, e.currentTarget.value)} />
          <input aria-label={valueLabel} value={value} onInput={(e) => change(index, 1, e.currentTarget.value)} />
          <Button
            kind="quiet"
            onClick={() => onChange(pairs.filter((_, at) => at !== index))}
            aria-label={removeLabel}
            title={removeLabel}
          >
            <Icon name="close" />
          </Button>
        </div>
      ))}
    </div>
  );
}
