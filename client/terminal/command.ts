/** What a command is: its options, its lines of help, and what it does with a session. */
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { ClientError } from '../errors.ts'
import type { Session } from './session.ts'

type ParseArgsOptionsConfig = NonNullable<ParseArgsConfig['options']>

export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  refused: 4,
  notFound: 5,
  payment: 6,
  forged: 7,
} as const

export const globalOptions = {
  home: { type: 'string' },
  json: { type: 'boolean' },
  human: { type: 'boolean' },
  'max-spend': { type: 'string' },
  proxy: { type: 'string' },
  'allow-private': { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const satisfies ParseArgsOptionsConfig

export interface Command {
  readonly name: string
  /** What follows the name, e.g. `FRIEND --text TEXT`. */
  readonly usage: string
  readonly summary: string
  /** One line for each option. */
  readonly help: readonly string[]
  /** Returns the exit code. */
  run(session: Session, args: readonly string[]): Promise<number>
}

type Values<O extends ParseArgsOptionsConfig> = ReturnType<typeof parseArgs<{ options: O }>>['values']

/** A command whose `run` gets its options parsed; anything unknown or out of number is a usage error. */
export function command<O extends ParseArgsOptionsConfig>(definition: {
  name: string
  usage: string
  summary: string
  help?: readonly string[]
  options: O
  positionals: readonly [least: number, most: number]
  run(session: Session, values: Values<O>, positionals: readonly string[]): Promise<number>
}): Command {
  const { name, usage, summary, help = [], options, run } = definition
  const [least, most] = definition.positionals
  return {
    ...{ name, usage, summary, help },
    run: async (session, args) => {
      const parsed = parse(args, { ...options, ...globalOptions })
      const count = parsed.positionals.length
      if (count < least || count > most) throw usageError(`usage: relay ${name} ${usage}`.trimEnd())
      // The options are a superset of O's, so the values are of O too.
      return run(session, parsed.values as unknown as Values<O>, parsed.positionals)
    },
  }
}

function parse(args: readonly string[], options: ParseArgsOptionsConfig) {
  try {
    return parseArgs({ args: joined(args, options), options, allowPositionals: true })
  } catch (error) {
    const negative = args.find((arg) => /^-[0-9]/.test(arg))
    throw usageError(parseFault(error as Error & { code?: string }, negative))
  }
}

/** `--max-pulls -1` means a value, however wrong, and no option -1. */
function joined(args: readonly string[], options: ParseArgsOptionsConfig): string[] {
  const all: string[] = []
  for (const arg of args) {
    const before = all.at(-1)
    const takesValue = before?.startsWith('--') && options[before.slice(2)]?.type === 'string'
    if (takesValue && /^-[0-9]/.test(arg)) all.push(`${all.pop()}=${arg}`)
    else all.push(arg)
  }
  return all
}

/** What node:util found, in a sentence of ours. */
function parseFault({ code, message }: Error & { code?: string }, negative: string | undefined): string {
  const option = /'(?:-\w, )?(--?[^' =]+)/.exec(message)?.[1] ?? ''
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' && negative?.startsWith(option))
    return `${negative} is not a whole number above 0`
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') return `there is no option ${option}`
  if (code !== 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE') return message
  return message.includes('does not take') ? `${option} takes no value` : `${option} needs a value`
}

export const usageError = (message: string): ClientError => new ClientError('ERR_USAGE', message)

const unitSeconds = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 } as const

/** Seconds of `90s`, `30m`, `12h`, `7d`, `2w`. */
export function durationSeconds(text: string, option: string): number {
  const match = /^([1-9][0-9]{0,8})([smhdw])$/.exec(text)
  if (match === null) throw usageError(`--${option} takes a duration like 90s, 30m, 12h or 7d`)
  return Number(match[1]) * unitSeconds[match[2] as keyof typeof unitSeconds] // by the pattern
}

const unitBytes = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
} as const

/** Bytes of `500000`, `200MB`, `2GiB`. */
export function sizeBytes(text: string, option: string): number {
  const match = /^([1-9][0-9]{0,11})((?:[kMGT]|[KMGT]i)?)B?$/.exec(text)
  const bytes = match === null ? Number.NaN : Number(match[1]) * unitBytes[match[2] as keyof typeof unitBytes] // by the pattern
  if (!Number.isSafeInteger(bytes)) throw usageError(`--${option} takes a size like 500MB or 2GiB`)
  return bytes
}

/** A whole number of satoshi; 0 is one. */
export function satoshis(text: string, option: string): number {
  if (!/^(?:0|[1-9][0-9]{0,14})$/.test(text)) throw usageError(`--${option} takes a whole number of satoshi`)
  return Number(text)
}

export function positiveInteger(text: string, option: string): number {
  if (!/^[1-9][0-9]{0,9}$/.test(text)) throw usageError(`--${option} takes a whole number above 0`)
  return Number(text)
}

/** How long relays are to keep it, and how often each may give it away. */
export const keepingOptions = { ttl: { type: 'string' }, 'max-pulls': { type: 'string' } } as const

export const keepingOf = ({ ttl, 'max-pulls': pulls }: Values<typeof keepingOptions>) => ({
  ttlSeconds: ttl === undefined ? undefined : durationSeconds(ttl, 'ttl'),
  maxPulls: pulls === undefined ? undefined : positiveInteger(pulls, 'max-pulls'),
})
