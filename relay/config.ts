/** What `relayd start` may be told, on the command line or as RELAYD_* variables. */
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { Key } from '../market/units.ts'
import { checkLimits, Limits, parseLimit } from './limits.ts'
import { UsageError } from './usage.ts'

const mib = 1024 * 1024

export const Config = z.strictObject({
  data: z.string().min(1),
  host: z.string().min(1),
  port: z.int().min(0).max(65_535),
  /** Everybody may write; else only `allow`. */
  open: z.boolean(),
  allow: z.array(Key),
  publicUrl: z.url({ protocol: /^https?$/ }).optional(),
  trustProxy: z.boolean(),
  tls: z.strictObject({ cert: z.string(), key: z.string() }).optional(),
  minFreeDiskBytes: z.int().min(0),
  logLevel: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent']),
  limits: Limits,
})
export type Config = z.infer<typeof Config>

interface Option {
  readonly type: 'string' | 'boolean'
  readonly multiple?: true
  readonly value?: string
  readonly help: string
}

/** The options of `start`; each is also an environment variable, `--min-free-disk` being RELAYD_MIN_FREE_DISK. */
export const startOptions = {
  data: { type: 'string', value: 'DIR', help: 'where the key and the store live (required)' },
  listen: {
    type: 'string',
    value: 'HOST:PORT',
    help: 'address to serve on (default 127.0.0.1:8420; port 0: any free one)',
  },
  open: { type: 'boolean', help: 'let everybody write' },
  allow: { type: 'string', multiple: true, value: 'KEY', help: 'let this identity write (repeatable)' },
  'public-url': { type: 'string', value: 'URL', help: 'how clients reach this relay, when not by --listen' },
  'trust-proxy': { type: 'boolean', help: 'take the caller’s address from the last X-Forwarded-For entry' },
  'tls-cert': { type: 'string', value: 'FILE', help: 'certificate chain (PEM); with --tls-key, serve https' },
  'tls-key': { type: 'string', value: 'FILE', help: 'private key of the certificate (PEM)' },
  'min-free-disk': { type: 'string', value: 'MIB', help: 'refuse writes when less is free (default 512)' },
  limit: {
    type: 'string',
    multiple: true,
    value: 'NAME=NUMBER',
    help: 'change a limit (repeatable; see docs)',
  },
  'log-level': {
    type: 'string',
    value: 'LEVEL',
    help: 'fatal, error, warn, info (default), debug or silent',
  },
} as const satisfies Record<string, Option>

type Given = { [name: string]: string | boolean | (string | boolean)[] | undefined }

/**
 * Reads the options of `start`; the command line stands above the environment.
 * @throws UsageError
 */
export function readConfig(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Config {
  const given: Given = { ...fromEnvironment(env), ...fromCommandLine(args, startOptions) }
  const text = (name: keyof typeof startOptions) => given[name] as string | undefined // its option is a string
  const list = (name: keyof typeof startOptions) => (given[name] as string[] | undefined) ?? [] // its option is a list
  if (text('data') === undefined) throw new UsageError('--data DIR is required')
  const parsed = Config.safeParse({
    data: text('data'),
    ...parseListen(text('listen') ?? '127.0.0.1:8420'),
    open: given.open === true,
    allow: list('allow'),
    publicUrl: text('public-url')?.replace(/\/+$/, ''),
    trustProxy: given['trust-proxy'] === true,
    tls: parseTls(text('tls-cert'), text('tls-key')),
    minFreeDiskBytes: Number(text('min-free-disk') ?? 512) * mib,
    logLevel: text('log-level') ?? 'info',
    limits: Limits.parse(Object.fromEntries(list('limit').map(parseLimit))),
  })
  if (!parsed.success) throw new UsageError(sentence(parsed.error))
  checkLimits(parsed.data.limits)
  return parsed.data
}

/** Which option holds a field that does not fit, and what it takes. */
function sentence(error: z.ZodError): string {
  const expectations: Record<string, string> = {
    data: '--data takes a directory',
    host: '--listen takes HOST:PORT',
    port: '--listen takes HOST:PORT with a port of at most 65535',
    allow: '--allow takes a compressed public key in lower-case hex',
    publicUrl: '--public-url takes an http or https URL',
    minFreeDiskBytes: '--min-free-disk takes a number of MiB',
    logLevel: '--log-level takes fatal, error, warn, info, debug or silent',
  }
  const field = String(error.issues[0]?.path[0])
  return expectations[field] ?? `${field} does not fit`
}

/** The data directory of the commands that talk to a running relay. @throws UsageError */
export function readDataOption(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): string {
  const { data = env.RELAYD_DATA } = fromCommandLine(args, { data: startOptions.data })
  if (typeof data !== 'string' || data === '') throw new UsageError('--data DIR is required')
  return data
}

function fromCommandLine(args: readonly string[], options: Record<string, Option>): Given {
  try {
    return parseArgs({ args: [...args], options, strict: true }).values
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error }) // parseArgs throws TypeErrors
  }
}

function fromEnvironment(env: Readonly<Record<string, string | undefined>>): Given {
  const given: Given = {}
  for (const [name, option] of Object.entries<Option>(startOptions)) {
    const value = env[`RELAYD_${name.toUpperCase().replaceAll('-', '_')}`]
    if (value === undefined || value === '') continue
    if (option.multiple) given[name] = value.split(/[\s,]+/).filter((part) => part !== '')
    else if (option.type === 'boolean') given[name] = truth(name, value)
    else given[name] = value
  }
  return given
}

/** Only plain words: a relay must not stand open because of a word that was meant to close it. */
function truth(name: string, value: string): boolean {
  if (/^(?:1|true|yes|on)$/i.test(value)) return true
  if (/^(?:0|false|no|off)$/i.test(value)) return false
  throw new UsageError(`the variable of --${name} takes true or false`)
}

function parseListen(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  if (match === null) throw new UsageError('--listen takes HOST:PORT, an IPv6 host in brackets')
  return { host: match[1] ?? match[2] ?? '', port: Number(match[3]) }
}

function parseTls(cert: string | undefined, key: string | undefined): Config['tls'] {
  if (cert === undefined && key === undefined) return undefined
  if (cert === undefined || key === undefined) {
    throw new UsageError('--tls-cert and --tls-key go together')
  }
  return { cert, key }
}
