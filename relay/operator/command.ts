/** What a command of `relayd` is, and what all of them share. */
import type { ParseArgsConfig, parseArgs } from 'node:util'
import { Key } from '../../market/units.ts'
import { type Reached, reachRunning } from './reach-running.ts'
import { parseWords, UsageError } from './usage.ts'

/** 3: no relay runs, or the chain does not answer. 5, 6 and 7: what was asked for is not there; more than the coins; the books do not agree. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  notFound: 5,
  payment: 6,
  mismatch: 7,
} as const

/** The world of one run of the program. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Whether results are read by a person. */
  readonly isTerminal: boolean
  readonly signal: AbortSignal
  out(text: string): void
  /** Asks whoever is at the terminal for a yes; absent where nobody is. */
  readonly ask?: ((question: string) => Promise<boolean>) | undefined
}

type Options = NonNullable<ParseArgsConfig['options']>
type Values<O extends Options> = ReturnType<typeof parseArgs<{ options: O }>>['values']

export interface Command {
  /** What follows `relayd`, e.g. `grant KEY SATOSHI`. */
  readonly usage: string
  readonly summary: string
  /** Hears of an interrupt by the signal of its `Io`; others are ended by it at once, which harms nothing. */
  readonly heedsInterrupt: boolean
  run(io: Io, args: readonly string[]): Promise<number>
}

const shared = {
  data: { type: 'string' },
  json: { type: 'boolean' },
  human: { type: 'boolean' },
} as const satisfies Options

export interface Given<O extends Options> {
  readonly io: Io
  readonly data: string
  readonly values: Values<O>
  readonly words: readonly string[]
  /** A result: a JSON line for programs, or for people the lines that `human` makes of it. */
  print<T>(result: T, human: (result: T) => readonly string[]): void
  /** For people only, where there is no result. */
  remark(sentence: string): void
  /** The relay of the data directory, running or not; closed when the command ends. */
  relay(): Promise<Reached>
  /** The same, where it must be running. */
  readonly running: Reached
}

/** A command of `words` many words, from at least to at most. */
export function command<O extends Options>(definition: {
  usage: string
  summary: string
  options?: O
  words: readonly [least: number, most: number]
  heedsInterrupt?: boolean
  /** Resolves with the exit code, where it is not 0. */
  run(given: Given<O>): Promise<number | undefined>
}): Command {
  const { usage, summary, options, words, heedsInterrupt = true, run } = definition
  return {
    usage,
    summary,
    heedsInterrupt,
    async run(io, args) {
      const { values, positionals } = parseWords({
        args: [...args],
        options: { ...options, ...shared } as Options,
        allowPositionals: true,
        strict: true,
      })
      const [least, most] = words
      if (positionals.length < least || positionals.length > most)
        throw new UsageError(`usage: relayd ${usage}`)
      const {
        data = io.env.RELAYD_DATA,
        json,
        human,
      } = values as { data?: string; json?: boolean; human?: boolean }
      if (data === undefined || data === '') throw new UsageError('--data DIR is required')
      const isJson = json ?? (human === true ? false : !io.isTerminal)
      let reached: Reached | undefined
      try {
        const code = await run({
          io,
          data,
          words: positionals,
          values: values as unknown as Values<O>, // the options are a superset of O's
          remark: (sentence) => {
            if (!isJson) io.out(sentence)
          },
          print: (result, lines) => io.out(isJson ? JSON.stringify(result) : lines(result).join('\n')),
          relay: async () => {
            // Only for the commands that need it: it brings the store with it.
            const { reach } = await import('./reach.ts')
            reached ??= await reach(data, io.signal, passphraseOf(io))
            return reached
          },
          running: reachRunning(data, io.signal),
        })
        return code ?? exitCodes.ok
      } finally {
        await reached?.close()
      }
    },
  }
}

/** Of the relay's key. */
export const passphraseOf = ({ env }: Pick<Io, 'env'>): string | undefined =>
  env.RELAYD_PASSPHRASE === '' ? undefined : env.RELAYD_PASSPHRASE

/** Columns as wide as their widest cell, headed in capitals. */
export function table(columns: readonly string[], rows: readonly (readonly (string | number)[])[]): string[] {
  const lines = [columns.map((column) => column.toUpperCase()), ...rows.map((row) => row.map(String))]
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => line[index]?.length ?? 0)))
  return lines.map((line) =>
    line
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

export const timeText = (ms: number): string => new Date(ms).toISOString().slice(0, 19).replace('T', ' ')

/** A key, as typed. @throws UsageError */
export function keyOf(word: string): Key {
  const key = Key.safeParse(word)
  if (key.success) return key.data
  const shown = word.length > 70 ? `${word.slice(0, 70)}…` : word
  throw new UsageError(`${shown} is no key: 66 digits in lower-case hex, of which the first are 02 or 03`)
}

/** A number of satoshi, as typed. @throws UsageError */
export function satoshiOf(word: string): number {
  const satoshi = Number(word)
  if (!/^[1-9][0-9]{0,15}$/.test(word) || !Number.isSafeInteger(satoshi))
    throw new UsageError(`${word} is not a whole number of satoshi above 0`)
  return satoshi
}
