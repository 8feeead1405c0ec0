/** What `relayd start` may be told, on the command line or as RELAYD_* variables. */
import { z } from 'zod'
import { Network } from '../contracts/chain/chain.ts'
import { parseChain } from '../contracts/chain/open.ts'
import { parseChannel } from '../market/channels/name.ts'
import { freePrices, isFree } from '../market/price.ts'
import { Key, mostSatoshi, Prices } from '../market/units.ts'
import { Boxes, parseBoxes } from './boxes/options.ts'
import { checkLimits, Limits, parseLimit } from './limits.ts'
import { marketFields, parseMarket } from './market/price-options.ts'
import { Policy, parsePolicy } from './escrow/policy-options.ts'
import { checkFederation, Federation, parseFederation } from './overlay/options.ts'
import { parsePhipOptions, Phip } from './phip/options.ts'
import { parseWords, UsageError } from './operator/usage.ts'
import { parsePrices } from './pricing.ts'
import { type Option, startOptions } from './start-options.ts'

const mib = 1024 * 1024
const mostChannels = 16

const Listen = z.strictObject({ host: z.string().min(1), port: z.int().min(0).max(65_535) })

export const Config = z.strictObject({
  data: z.string().min(1),
  host: z.string().min(1),
  port: z.int().min(0).max(65_535),
  /** Everybody may write; else only `allow`. */
  open: z.boolean(),
  allow: z.array(Key),
  /** What records cost, where it is said; else what was set at run time holds. */
  prices: Prices.optional(),
  ...marketFields,
  /** Satoshi that a newcomer is given; 0: nothing. */
  grantNew: z.int().min(0).max(mostSatoshi),
  metrics: Listen.optional(),
  publicUrl: z.url({ protocol: /^https?$/ }).optional(),
  trustProxy: z.boolean(),
  /** Clients of BRC-31 may authenticate too. */
  brc31: z.boolean(),
  tls: z.strictObject({ cert: z.string(), key: z.string() }).optional(),
  minFreeDiskBytes: z.int().min(0),
  /** What is said of the chain; what is not said is remembered (contracts/chain/settings.ts). */
  chain: z.strictObject({
    chain: z.string().optional(),
    network: Network.optional(),
    headers: z.string().optional(),
    backup: z.string().optional(),
  }),
  /** Satoshi of credit that may rest on payments of one payer that are in no block yet. */
  zeroConfLimit: z.int().min(0).max(mostSatoshi),
  /** Where what clients sign is written down once more. */
  paymentLog: z.string().optional(),
  contracts: Policy,
  boxes: Boxes,
  /** Whether adverts of others are kept for everybody. */
  board: z.boolean(),
  /** Whether tokens of others are kept for everybody, where there is a chain. */
  overlay: z.boolean(),
  federation: Federation,
  phip: Phip,
  /** Channels that its own advert goes to. */
  advertise: z.array(z.string()),
  logLevel: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent']),
  limits: Limits,
})
export type Config = z.infer<typeof Config>

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
    ...parseListen(text('listen') ?? '127.0.0.1:8420', 'listen'),
    open: given.open === true,
    allow: list('allow'),
    prices: list('price').length === 0 ? undefined : { ...freePrices, ...parsePrices(list('price')) },
    ...parseMarket(list('auto-price'), text('capacity')),
    grantNew: Number(text('grant-new') ?? 0),
    metrics: text('metrics') === undefined ? undefined : parseListen(text('metrics')!, 'metrics'),
    publicUrl: text('public-url')?.replace(/\/+$/, ''),
    trustProxy: given['trust-proxy'] === true,
    brc31: given.brc31 === true,
    tls: parseTls(text('tls-cert'), text('tls-key')),
    minFreeDiskBytes: Number(text('min-free-disk') ?? 512) * mib,
    chain: {
      chain: text('chain'),
      network: text('network'),
      headers: text('headers'),
      backup: text('backup'),
    },
    zeroConfLimit: Number(text('zero-conf') ?? 10_000),
    paymentLog: text('payment-log'),
    contracts: parsePolicy(list('contract')),
    boxes: parseBoxes(given),
    board: given['no-board'] !== true,
    overlay: given['no-overlay'] !== true,
    federation: parseFederation(given),
    phip: parsePhipOptions(given),
    advertise: [...new Set(list('advertise'))],
    logLevel: text('log-level') ?? 'info',
    limits: Limits.parse(Object.fromEntries(list('limit').map(parseLimit))),
  })
  if (!parsed.success) throw new UsageError(sentence(parsed.error))
  const { limits, open, prices, autoPrice, chain, brc31, publicUrl } = parsed.data
  checkLimits(limits)
  checkChain(chain)
  checkAdvertise(parsed.data)
  checkFederation(parsed.data.federation, parsed.data)
  if (brc31 && publicUrl === undefined)
    throw new UsageError('--brc31 needs --public-url: its clients sign whole URLs')
  if (open && (autoPrice !== undefined || (prices !== undefined && !isFree(prices))))
    throw new UsageError('with --open everybody writes free of charge: leave it out to sell at a --price')
  return parsed.data
}

/** Which option holds a field that does not fit, and what it takes. */
function sentence(error: z.ZodError): string {
  const expectations: Record<string, string> = {
    data: '--data takes a directory',
    host: '--listen takes HOST:PORT',
    port: '--listen takes HOST:PORT with a port of at most 65535',
    allow: '--allow takes a compressed public key in lower-case hex',
    grantNew: '--grant-new takes a whole number of satoshi',
    metrics: '--metrics takes HOST:PORT',
    publicUrl: '--public-url takes an http or https URL',
    minFreeDiskBytes: '--min-free-disk takes a number of MiB',
    chain: '--network takes main, test, regtest or devnet',
    zeroConfLimit: '--zero-conf takes a whole number of satoshi',
    logLevel: '--log-level takes fatal, error, warn, info, debug or silent',
  }
  const field = String(error.issues[0]?.path[0])
  return expectations[field] ?? `${field} does not fit`
}

/** @throws UsageError */
export function checkChain({ chain }: Config['chain']): void {
  if (chain === undefined) return
  try {
    parseChain(chain)
  } catch (cause) {
    throw new UsageError(`--chain: ${(cause as Error).message}`, { cause }) // it throws nothing else
  }
}

/** @throws UsageError */
function checkAdvertise({ advertise, board }: Config): void {
  if (advertise.length > mostChannels)
    throw new UsageError(`--advertise takes at most ${mostChannels} channels`)
  for (const name of advertise) {
    try {
      const { kind, target } = parseChannel(name)
      if (kind === 'url') throw new Error('a document at a URL is only read: advertise to file:PATH')
      if (kind === 'board' && target === 'self' && !board) throw new Error('there is --no-board')
    } catch (cause) {
      throw new UsageError(`--advertise ${name}: ${(cause as Error).message}`, { cause }) // it throws nothing else
    }
  }
}

function fromCommandLine(args: readonly string[], options: Record<string, Option>): Given {
  return parseWords({ args: [...args], options, strict: true }).values
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

/** @throws UsageError */
export function parseListen(text: string, option: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  if (match === null) throw new UsageError(`--${option} takes HOST:PORT, an IPv6 host in brackets`)
  return { host: match[1] ?? match[2] ?? '', port: Number(match[3]) }
}

function parseTls(cert: string | undefined, key: string | undefined): Config['tls'] {
  if (cert === undefined && key === undefined) return undefined
  if (cert === undefined || key === undefined) {
    throw new UsageError('--tls-cert and --tls-key go together')
  }
  return { cert, key }
}
