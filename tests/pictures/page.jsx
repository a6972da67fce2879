// A dashboard of ours drawn from its JSON (window.board) with Grafana's own components; what they
// do not have, heatmaps and state timelines, is drawn here. __main__.py photographs it.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { firstValueFrom } from 'rxjs';
import {
  applyFieldOverrides, createTheme, dateTime, FieldType, getFieldDisplayValues, getValueFormat,
  formattedValueToString, identityOverrideProcessor, Registry, standardTransformers,
  standardTransformersRegistry, ThemeContext, toDataFrame, transformDataFrame,
} from '@grafana/data';
import { BigValue, TimeSeries, VizRepeater } from '@grafana/ui';

const board = window.board;
const theme = createTheme({ colors: { mode: 'light' } });
const CELL = 30, GAP = 8, COLUMN = 1560 / 24, HEAD = 30;
const range = { from: dateTime(board.from), to: dateTime(board.to), raw: { from: dateTime(board.from), to: dateTime(board.to) } };

standardTransformersRegistry.setInit(() =>
  [standardTransformers.joinByFieldTransformer, standardTransformers.organizeFieldsTransformer]
    .map((transformation) => ({ id: transformation.id, name: transformation.name, transformation: async () => transformation })));

// The properties that our dashboards set.
const own = [...new Set(board.panels.flatMap((panel) => Object.keys(panel.fieldConfig?.defaults.custom ?? {})))];
const properties = new Registry(() =>
  ['unit', 'min', 'max', 'decimals', 'noValue', 'thresholds', 'color', ...new Set([...own, 'lineStyle', 'fillOpacity', 'cellOptions'].map((name) => `custom.${name}`))].map((id) => ({
    id, name: id, path: id.replace('custom.', ''), isCustom: id.startsWith('custom.'),
    process: identityOverrideProcessor, shouldApply: () => true,
  })));

function legendOf(target, labels) {
  if (!target.legendFormat) {
    const told = Object.entries(labels).filter(([name]) => name !== '__name__').map(([n, v]) => `${n}="${v}"`);
    return told.length ? `{${told.join(', ')}}` : target.expr.slice(0, 40);
  }
  return target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '');
}

// Where a series has no point, there is a gap.
function framesOf(panel) {
  return (panel.targets ?? []).flatMap((target) =>
    panel.data[target.refId].map(({ labels, points }) => toDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: points.map((p) => p[0]), config: { interval: board.step } },
        {
          name: 'Value', type: FieldType.number, values: points.map((p) => (Number.isFinite(p[1]) ? p[1] : null)), labels,
          config: { displayNameFromDS: legendOf(target, labels) },
        },
      ],
    })));
}

// What a panel's plugin adds where a dashboard says nothing.
const DEFAULTS = {
  timeseries: { color: { mode: 'palette-classic' } }, stat: { color: { mode: 'thresholds' } },
  table: { color: { mode: 'thresholds' } },
};

function configured(panel, frames) {
  return applyFieldOverrides({
    data: frames, fieldConfig: { ...panel.fieldConfig, defaults: { ...DEFAULTS[panel.type], ...panel.fieldConfig.defaults } }, replaceVariables: (text) => text, theme,
    timeZone: 'utc', fieldConfigRegistry: properties,
  });
}

function Graph({ panel, width, height }) {
  const frames = configured(panel, framesOf(panel));
  const drawn = frames.filter((f) => f.fields[1].values.some((v) => v != null));
  if (!drawn.length) { return <div className="none">No data</div>; }
  return <TimeSeries frames={drawn} timeRange={range} timeZone="utc" width={width} height={height}
    legend={panel.options.legend} options={panel.options} structureRev={1} />;
}

function Stat({ panel, width, height }) {
  const values = () => getFieldDisplayValues({
    fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: (text) => text,
    theme, data: configured(panel, framesOf(panel)), timeZone: 'utc',
  });
  return <VizRepeater getValues={values} source={panel} width={width} height={height} itemSpacing={3} orientation="auto"
    renderValue={({ value, count, width, height }) => <BigValue value={value.display} count={count} width={width} height={height}
      theme={theme} colorMode={panel.options.colorMode} graphMode="none" justifyMode={panel.options.justifyMode}
      textMode={panel.options.textMode} wideLayout={panel.options.wideLayout} />} />;
}

function tableFrames(panel) {
  return panel.targets.flatMap((target) => {
    const found = panel.data[target.refId];
    if (!found.length) { return []; }
    const names = Object.keys(found[0].labels);
    const value = panel.targets.length > 1 ? `Value #${target.refId}` : 'Value';
    return [toDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: found.map((s) => s.points[0][0]) },
        ...names.map((name) => ({ name, type: FieldType.string, values: found.map((s) => s.labels[name]) })),
        { name: value, type: FieldType.number, values: found.map((s) => s.points[0][1]) },
      ],
    })];
  });
}

function Rows({ panel }) {
  const [frame, setFrame] = React.useState(null);
  React.useEffect(() => {
    firstValueFrom(transformDataFrame(panel.transformations, tableFrames(panel))).then((found) => setFrame(configured(panel, found)[0]));
  }, [panel]);
  if (!frame) { return <div className="none">No data</div>; }
  const cell = (field, at) => {
    const value = field.values[at];
    if (value == null || field.type === FieldType.string) { return value ?? panel.fieldConfig.defaults.noValue; }
    const shown = field.display(value);
    const colored = field.config.custom?.cellOptions?.type === 'color-text';
    return <span style={colored ? { color: shown.color } : {}}>{formattedValueToString(shown)}</span>;
  };
  return <table>
    <thead><tr>{frame.fields.map((f) => <th key={f.name}>{f.config.displayName ?? f.name}</th>)}</tr></thead>
    <tbody>{Array.from({ length: frame.length }, (_, at) => <tr key={at}>{frame.fields.map((f) => <td key={f.name}>{cell(f, at)}</td>)}</tr>)}</tbody>
  </table>;
}

function Heat({ panel, width, height }) {
  const canvas = React.useRef(null);
  const series = Object.values(panel.data).flat()
    .sort((a, b) => parseFloat(a.labels.le.replace('+Inf', 'Infinity')) - parseFloat(b.labels.le.replace('+Inf', 'Infinity')));
  // Buckets count all below them: a cell is what a bucket has more than the one before. Those
  // that have nothing above or below what there is are left out.
  const cells = series.map((one, at) => new Map(one.points.map(([t, v], n) => [t, v - (at ? series[at - 1].points[n]?.[1] ?? 0 : 0)])));
  const used = cells.map((c) => [...c.values()].some((v) => v > 1e-9));
  const from = Math.max(0, used.indexOf(true) - 1), to = used.lastIndexOf(true) + 2;
  const rows = series.slice(from, to), shown = cells.slice(from, to);
  React.useEffect(() => {
    const pen = canvas.current.getContext('2d');
    const most = Math.max(...shown.flatMap((c) => [...c.values()]), 1e-9);
    const left = 60, low = height - 40, tall = low / Math.max(1, rows.length);
    const times = rows[0]?.points.map((p) => p[0]) ?? [];
    const wide = (width - left - 10) / Math.max(1, times.length);
    const unit = getValueFormat(panel.options.yAxis?.unit ?? 's');
    pen.font = '12px Inter, sans-serif';
    rows.forEach((row, at) => {
      const top = low - (at + 1) * tall;
      pen.fillStyle = '#555';
      pen.textAlign = 'right';
      const name = row.labels.le === '+Inf' ? '+Inf' : formattedValueToString(unit(parseFloat(row.labels.le)));
      if (tall >= 12 || at % Math.ceil(12 / tall) === 0) { pen.fillText(name, left - 6, top + 10); }
      times.forEach((t, n) => {
        const value = shown[at].get(t) ?? 0;
        if (value <= 1e-9) { return; }
        pen.fillStyle = `hsl(${40 - 25 * value / most}, 95%, ${85 - 45 * value / most}%)`;
        pen.fillRect(left + n * wide, top, Math.max(1, wide - 0.5), tall - 1);
      });
    });
    pen.textAlign = 'center';
    pen.fillStyle = '#555';
    for (let part = 0; part <= 4; part++) {
      const at = board.from + (board.to - board.from) * part / 4;
      pen.fillText(new Date(at).toISOString().slice(11, 16), left + (width - left - 30) * part / 4 + 10, height - 20);
    }
  });
  return rows.length ? <canvas ref={canvas} width={width} height={height} /> : <div className="none">No data</div>;
}

function States({ panel, width, height }) {
  const lines = (panel.targets ?? []).flatMap((target) => panel.data[target.refId].map((s) => [legendOf(target, s.labels), s.points]));
  const at = (t) => 220 + (width - 230) * (t - board.from) / (board.to - board.from);
  const step = lines[0] ? (board.to - board.from) / 240 : 0;
  const tall = Math.min(26, (height - 10) / Math.max(1, lines.length));
  return lines.length ? <svg width={width} height={height}>{lines.map(([name, points], row) => <g key={name}>
    <text x="212" y={row * tall + tall * 0.65} textAnchor="end" fontSize="11">{name}</text>
    {points.map(([t]) => <rect key={t} x={at(t)} width={Math.max(1, at(t + step) - at(t) + 0.5)} y={row * tall + 2} height={tall - 4} fill={theme.visualization.getColorByName('red')} />)}
  </g>)}</svg> : <div className="none">{panel.fieldConfig.defaults.noValue}</div>;
}

const KINDS = { timeseries: Graph, stat: Stat, table: Rows, heatmap: Heat, 'state-timeline': States };

function Panel({ panel }) {
  const { x, y, w, h } = panel.gridPos;
  const place = { left: x * COLUMN + GAP / 2, top: y * (CELL + GAP) + 50, width: w * COLUMN - GAP, height: h * (CELL + GAP) - GAP };
  if (panel.type === 'row') { return <div className="row" style={place}>⌄ {panel.title}</div>; }
  const Kind = KINDS[panel.type];
  return <div className="panel" style={place}>
    <h2>{panel.title}</h2>
    <Kind panel={panel} width={place.width - 18} height={place.height - HEAD - 4} />
  </div>;
}

createRoot(document.getElementById('board')).render(
  <ThemeContext.Provider value={theme}>
    <h1>{board.title}</h1>
    {board.panels.map((panel) => <Panel key={panel.id} panel={panel} />)}
  </ThemeContext.Provider>);
