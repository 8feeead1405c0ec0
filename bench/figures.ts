/** What a bench finds out, and how it is shown. */
import { cpus, totalmem } from 'node:os'

/** What every part is told about the run. */
export interface Bench {
  /** The large sizes, where the default is smaller to stay within the time of a run. */
  readonly full: boolean
  /** Where plots are written. */
  readonly plots: string
  /** Where CPU profiles of the relays are written. */
  readonly profile: string | undefined
  /** Says on the terminal what is going on. */
  note(text: string): void
}

export interface Part {
  readonly name: string
  readonly about: string
  run(bench: Bench): Promise<Figure[]>
}

export interface Figure {
  readonly what: string
  readonly operations?: number
  readonly opsPerSecond?: number
  /** Server CPU per operation. */
  readonly cpuMicros?: number
  /** Server CPU of all operations, from which one can tell how fine `cpuMicros` is. */
  readonly cpuTotalMs?: number
  readonly p50Ms?: number
  readonly p99Ms?: number
  /** What is neither a rate nor a latency. */
  readonly value?: { readonly amount: number; readonly unit: string }
  readonly target?: {
    readonly text: string
    readonly met: boolean
    /** The CPU it allows, where it is one of CPU. */
    readonly micros?: number
    /** Not to meet it is to fail. */
    readonly isBinding?: boolean
  }
}

/** Below this the 10 ms steps of the kernel's clock are more than 1 %. */
const fineCpuMs = 1000

export function percentile(values: ArrayLike<number>, part: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
}

const columns = ['', 'ops/s', 'CPU µs/op', 'at ref', 'p50 ms', 'p99 ms', 'value', 'target', 'met'] as const
const widths = [52, 7, 9, 7, 8, 8, 10, 29, 5] as const

export const tableHead = (): string =>
  `${line(columns)}\n${widths.map((width) => '─'.repeat(width)).join('  ')}`

/** `factor`: the speed of this machine at the time, by that of the reference; a target met only there is `(yes)`. */
export function tableRow(figure: Figure, factor: number): string {
  const { what, opsPerSecond, cpuMicros, cpuTotalMs = 0, p50Ms, p99Ms, value, target } = figure
  const coarse = cpuTotalMs < fineCpuMs ? '~' : ''
  return line([
    what,
    opsPerSecond === undefined ? '' : round(opsPerSecond),
    cpuMicros === undefined ? '' : `${coarse}${round(cpuMicros)}`,
    cpuMicros === undefined ? '' : round(cpuMicros * factor),
    p50Ms === undefined ? '' : p50Ms.toFixed(2),
    p99Ms === undefined ? '' : p99Ms.toFixed(2),
    value === undefined ? '' : `${round(value.amount)} ${value.unit}`,
    target?.text ?? '',
    verdict(figure, factor),
  ])
}

function line(cells: readonly string[]): string {
  return cells
    .map((cell, index) => {
      const width = widths[index] ?? 0
      const isText = index === 0 || index >= 7
      return isText ? cell.padEnd(width) : cell.padStart(width)
    })
    .join('  ')
    .trimEnd()
}

function verdict({ target, cpuMicros = 0 }: Figure, factor: number): string {
  if (target === undefined) return ''
  if (target.met) return 'yes'
  return target.micros !== undefined && cpuMicros * factor <= target.micros ? '(yes)' : 'NO'
}

const round = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(1))

export const machine = () => ({
  cores: cpus().length,
  cpu: cpus()[0]?.model ?? 'unknown',
  memoryBytes: totalmem(),
  node: process.version,
  platform: `${process.platform} ${process.arch}`,
})
