/** `--auto-price` and `--capacity`, as they are typed. */
import { z } from 'zod'
import { UsageError } from '../operator/usage.ts'

const satoshi = z.int().min(0).max(1_000_000_000_000)
const percent = (least: number, most: number, fallback: number) =>
  z.int().min(least).max(most).default(fallback)

/** The parameters of the pricing rule (market/pricing-rule.ts), and how often it decides. */
export const AutoPrice = z
  .strictObject({
    diskCost: satoshi,
    bandwidth: z.int().min(1).max(1_000_000),
    trafficCost: satoshi.default(0),
    fixedCost: satoshi.default(0),
    margin: percent(0, 1000, 30),
    target: percent(10, 100, 70),
    step: percent(1, 50, 5),
    band: percent(0, 50, 5),
    storageFloor: satoshi.min(1).default(1),
    storageCeiling: satoshi.min(1).default(1_000_000_000_000),
    egressFloor: satoshi.min(1).default(1),
    egressCeiling: satoshi.min(1).default(1_000_000_000_000),
    /** Minutes between decisions: a rise has its notice behind it by the next. */
    every: z.int().min(15).max(10_080).default(240),
  })
  .refine(
    ({ storageFloor, storageCeiling, egressFloor, egressCeiling, trafficCost }) =>
      storageFloor <= storageCeiling && Math.max(egressFloor, trafficCost) <= egressCeiling,
    'a floor, or the cost of traffic, is above its ceiling',
  )
export type AutoPrice = z.infer<typeof AutoPrice>

/** Of the configuration. */
export const marketFields = {
  /** By which prices follow the load; absent: they stay. */
  autoPrice: AutoPrice.optional(),
  /** Bytes that may be promised; absent: what the disk has. */
  capacityBytes: z.int().min(0).optional(),
}

export const marketOptions = {
  'auto-price': {
    type: 'string',
    multiple: true,
    value: 'NAME=NUMBER',
    help: 'let prices follow the load: diskCost=, bandwidth= and more (repeatable; see docs)',
  },
  capacity: {
    type: 'string',
    value: 'SIZE',
    help: 'promise no more than this, e.g. 500GiB (default: the free disk)',
  },
} as const

/** @throws UsageError */
export const parseMarket = (autoPrice: readonly string[], capacity: string | undefined) => ({
  autoPrice: parseAutoPrice(autoPrice),
  capacityBytes: capacity === undefined ? undefined : parseCapacity(capacity),
})

/** Undefined where nothing is said. @throws UsageError */
function parseAutoPrice(words: readonly string[]): AutoPrice | undefined {
  if (words.length === 0) return undefined
  const given: Record<string, number> = {}
  for (const word of words) {
    const [name = '', value = ''] = word.split('=', 2)
    if (!Object.hasOwn(AutoPrice.shape, name) || !/^(?:0|[1-9][0-9]{0,12})$/.test(value))
      throw new UsageError(
        `--auto-price takes NAME=NUMBER with a name of: ${Object.keys(AutoPrice.shape).join(', ')}`,
      )
    given[name] = Number(value)
  }
  const parsed = AutoPrice.safeParse(given)
  if (parsed.success) return parsed.data
  const { path, message, code } = parsed.error.issues[0]! // every ZodError has one
  if (path.length === 0) throw new UsageError(`--auto-price: ${message}`)
  const isMissing = !Object.hasOwn(given, String(path[0]))
  throw new UsageError(
    isMissing
      ? `--auto-price needs ${String(path[0])}=NUMBER`
      : `--auto-price ${String(path[0])} is out of its range (${code})`,
  )
}

const units: Readonly<Record<string, number>> = {
  '': 1,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
}

/** Bytes. @throws UsageError */
function parseCapacity(text: string): number {
  const [, digits = '', unit = ''] = /^([0-9]{1,15})([MGT]i?B)?$/.exec(text) ?? []
  const bytes = Number(digits) * (units[unit] ?? 0)
  if (digits === '' || !Number.isSafeInteger(bytes))
    throw new UsageError('--capacity takes bytes, or a whole number of MB, GB, TB, MiB, GiB or TiB')
  return bytes
}
