/** What `relayd start` may be told about other hosts of message boxes (BRC-34). */
import { z } from 'zod'
import { Key, mostSatoshi } from '../../market/units.ts'
import { UsageError } from '../operator/usage.ts'

export const phipOptions = {
  'no-phip': { type: 'boolean', help: 'bring no message to other hosts, and take none from them' },
  'phip-deny': {
    type: 'string',
    multiple: true,
    value: 'KEY',
    help: 'take no messages, and no word about who can be reached there, from this host (repeatable)',
  },
  'phip-lookup': {
    type: 'string',
    multiple: true,
    value: 'URL',
    help: 'ask this host of an overlay, too, where recipients live (repeatable)',
  },
  'phip-reach': {
    type: 'string',
    multiple: true,
    value: 'DOMAIN=URL',
    help: 'reach the host of this domain there, wherever that is (repeatable)',
  },
  'phip-budget': {
    type: 'string',
    value: 'SATOSHI',
    help: 'pay this much for bringing a message, beyond what its sender paid for the delivery (default 0)',
  },
  'plain-phip': {
    type: 'boolean',
    help: 'take messages from hosts that do not prove who sent them: they may invent them',
  },
} as const

const most = 16
const Url = z
  .string()
  .regex(/^https?:\/\/[^\s]+$/)
  .refine((text) => URL.canParse(text))
const Domain = z.string().regex(/^[a-z0-9.-]+(?::[0-9]+)?$/)

export const Phip = z.strictObject({
  isServed: z.boolean(),
  denied: z.array(Key),
  lookups: z.array(Url).max(most),
  /** By domain. */
  reach: z.record(Domain, Url),
  /** Satoshi. */
  budget: z.int().min(0).max(mostSatoshi),
  isPlainTaken: z.boolean(),
})
export type Phip = z.infer<typeof Phip>

/** @throws UsageError */
export function parsePhipOptions(given: Readonly<Record<string, unknown>>): Phip {
  const list = (name: keyof typeof phipOptions) => (given[name] as string[] | undefined) ?? []
  const trimmed = (url: string) => url.replace(/\/+$/, '')
  const parsed = Phip.safeParse({
    isServed: given['no-phip'] !== true,
    denied: list('phip-deny'),
    lookups: [...new Set(list('phip-lookup').map(trimmed))],
    reach: Object.fromEntries(
      list('phip-reach').map((pair) => {
        const [, domain = '', url = ''] = /^([^=]+)=(.+)$/.exec(pair) ?? []
        return [domain, trimmed(url)]
      }),
    ),
    budget: Number(given['phip-budget'] ?? 0),
    isPlainTaken: given['plain-phip'] === true,
  })
  if (parsed.success) {
    const { isServed, lookups, reach, budget, isPlainTaken } = parsed.data
    if (!isServed && (lookups.length > 0 || Object.keys(reach).length > 0 || budget > 0 || isPlainTaken))
      throw new UsageError('--no-phip brings and takes nothing: leave out the other options of PHIP')
    return parsed.data
  }
  const sentences: Record<string, string> = {
    denied: '--phip-deny takes a compressed public key in lower-case hex',
    lookups: `--phip-lookup takes the URL of a host; at most ${most}`,
    reach: '--phip-reach takes DOMAIN=URL: a name, or name:port, as tokens say it, and where it is reached',
    budget: '--phip-budget takes a whole number of satoshi',
  }
  throw new UsageError(sentences[String(parsed.error.issues[0]?.path[0])] ?? 'an option of PHIP does not fit')
}
