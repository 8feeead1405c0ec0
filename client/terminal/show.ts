/** Text for people and for programs. Nothing a stranger wrote reaches a terminal with its control characters. */
import type { Writable } from 'node:stream'

/** Where a command's results go; `isTerminal` decides between tables and JSON lines unless the user does. */
export interface Output extends Writable {
  readonly isTTY?: boolean
  readonly columns?: number
}

// Control characters, invisible format characters (directions!) and the line ends of Unicode.
const unsafe = /[\p{Cc}\p{Cf}\u2028\u2029]/gu

const escaped = (match: string): string =>
  Array.from(
    { length: match.length },
    (_, index) => `\\u${match.charCodeAt(index).toString(16).padStart(4, '0')}`,
  ).join('')

/** One line that shows what cannot be shown as escapes. */
export const oneLine = (text: string): string => text.replaceAll(/\r?\n/g, ' ').replaceAll(unsafe, escaped)

/** As `oneLine`, keeping line breaks, each followed by `indent`. */
export const manyLines = (text: string, indent: string): string =>
  text
    .split(/\r?\n/)
    .map((line) => line.replaceAll(unsafe, escaped))
    .join(`\n${indent}`)

/** A JSON line; what JSON leaves raw is escaped too, because piped does not mean unseen. */
export const jsonLine = (value: unknown): string => `${JSON.stringify(value).replaceAll(unsafe, escaped)}\n`

/** Columns as wide as their widest cell, headed in capitals; the last may be cut by the terminal. */
export function table(
  columns: readonly string[],
  rows: readonly Readonly<Record<string, unknown>>[],
): string {
  const cells = [
    columns.map((column) => column.toUpperCase()),
    ...rows.map((row) => columns.map((column) => cell(row[column]))),
  ]
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => line[index]!.length))) // as many cells as columns
  const line = (texts: readonly string[]) =>
    texts
      .map((text, index) => text.padEnd(widths[index]!))
      .join('  ')
      .trimEnd()
  return `${cells.map(line).join('\n')}\n`
}

function cell(value: unknown): string {
  if (value === undefined || value === null || value === '') return '-'
  if (Array.isArray(value)) return value.map(cell).join(' ') || '-'
  const text = oneLine(String(value))
  return text.length > widestCell ? `${text.slice(0, widestCell - 1)}…` : text
}

/** A key fits, an address with its key does not get cut. */
const widestCell = 160

export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'] as const
  const step = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log10(bytes) / 3))
  return `${step === 0 ? bytes : (bytes / 1000 ** step).toFixed(1)} ${units[step]}`
}

/** In the time zone it names; a time beyond what a date can say is shown as the number it is. */
export function timeText(ms: number): string {
  const date = new Date(ms)
  return Number.isNaN(date.getTime())
    ? String(ms)
    : `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

/** `[#####.....] 50 %`; redrawn in place, so only for terminals. */
export function progressBar(doneBytes: number, totalBytes: number): string {
  const part = totalBytes === 0 ? 1 : doneBytes / totalBytes
  const width = 24
  const full = Math.round(part * width)
  const bar = `${'#'.repeat(full)}${'.'.repeat(width - full)}`
  return `[${bar}] ${Math.floor(part * 100)} % of ${bytesText(totalBytes)}`
}
