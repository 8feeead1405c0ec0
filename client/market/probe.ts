/**
 * Asking relays whether they are there (docs/protocol.md §12.9): a sealed `quote` in the name of a key that nobody knows, whose
 * signed answer must come from the advertised key. By the rules for addresses that strangers named.
 */
import { randomBytes } from 'node:crypto'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import type { RelayAddress } from '../../market/address.ts'
import { seal } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { billedBytes, ceilSatoshi, quoteUnits } from '../../market/price.ts'
import type { Key, Prices } from '../../market/units.ts'
import type { UsagePattern } from '../../market/usage-pattern.ts'
import type { Context } from '../context.ts'
import { ClientError, codeOf, Refused } from '../errors.ts'
import { noteProbes } from '../home/market.ts'
import { fromKeyWallet } from '../wallet.ts'
import { openAnswer } from '../wire/answer.ts'
import { fetchText } from '../wire/http.ts'
import { fetchInfo } from '../wire/info.ts'
import { eachLimited, sleep } from '../wire/retry.ts'

export const probeLimits = {
  atOnce: 8,
  timeoutMs: 5_000,
  replyBytes: 64 * 1024,
  /** Of one call; the first of those that were given. */
  relays: 64,
  /** Each waits for up to so long before it begins, so that relays of one operator do not see a sweep. */
  jitterMs: 500,
} as const

export interface Target {
  readonly address: RelayAddress
  /** The largest record that it advertises: nothing larger is asked for. */
  readonly recordBytes: number
  readonly ttl: number
}

export interface Probed {
  readonly relay: Key
  readonly url: string
  /** Until the signed answer was verified, over a connection that was there; null: the key did not answer, or has no room. */
  readonly ms: number | null
  readonly prices: Prices | null
  readonly addresses: readonly string[]
  /** The key that answers at this address in its place. */
  readonly another: Key | null
  readonly error?: Error
}

export interface ProbeOptions {
  readonly pattern: UsagePattern
  readonly signal?: AbortSignal | undefined
  /** Milliseconds to wait before one begins. */
  readonly jitter?: (() => number) | undefined
}

const usualJitter = (): number => Math.floor(Math.random() * probeLimits.jitterMs)

/** What came of it is kept as evidence, whatever it was. Never throws for a relay. */
export async function probe(
  ctx: Pick<Context, 'home' | 'dialer' | 'now'>,
  targets: readonly Target[],
  { pattern, signal, jitter = usualJitter }: ProbeOptions,
): Promise<Probed[]> {
  const found = new Map<Key, Probed>()
  await eachLimited(targets.slice(0, probeLimits.relays), probeLimits.atOnce, async (target) => {
    const waitMs = jitter()
    if (waitMs > 0) await sleep(waitMs, signal)
    found.set(target.address.key, await probeOne(ctx, target, { pattern, signal }))
  })
  signal?.throwIfAborted()
  const at = ctx.now()
  await noteProbes(
    ctx.home,
    new Map(
      [...found].map(([key, { ms, prices, addresses, another, error }]) => [
        key,
        {
          probe: { at, ms, code: error === undefined ? null : (codeOf(error) ?? 'ERR_UNREACHABLE') },
          ...{ addresses: [...addresses], another, quoted: prices && { at, prices } },
        },
      ]),
    ),
  )
  return [...found.values()]
}

async function probeOne(
  { dialer, now }: Pick<Context, 'dialer' | 'now'>,
  { address, recordBytes, ttl }: Target,
  { pattern, signal }: Pick<ProbeOptions, 'pattern' | 'signal'>,
): Promise<Probed> {
  const { url, key } = address
  const deadline = AbortSignal.timeout(probeLimits.timeoutMs)
  const limit = signal === undefined ? deadline : AbortSignal.any([signal, deadline])
  const about = { relay: key, url }
  // A key of this moment: who is only asked for prices need not know by whom.
  const wallet = fromKeyWallet(new KeyWallet(randomBytes(32)))
  const wish = {
    bytes: Math.min(pattern.bytes, recordBytes),
    ttl: Math.min(pattern.ttl, ttl),
    maxPulls: Math.max(1, Math.ceil(pattern.milliPulls / 1000)),
  }
  try {
    // Its address is asked first what it is: a connection is there then, and another key is noticed.
    const [info, addresses] = await Promise.all([
      fetchInfo(url, { signal: limit, dialer }),
      dialer.addressesOf(url).catch(() => []),
    ])
    const another = info.key === key ? null : info.key
    if (another !== null)
      return { ...about, addresses, ms: null, prices: null, another, error: impostor(url, another) }
    // It opens no contract then (docs/operating.md, capacity). Unsigned: whoever forges it could as well keep silent.
    if (info.capacity !== undefined && info.capacity.free < billedBytes(recordBytes))
      return { ...about, addresses, ms: null, prices: null, another, error: full(url) }
    const began = performance.now()
    const nonce = randomBytes(8).toString('hex')
    const request = { type: 'quote' as const, ...wish }
    const sealed = await seal({ to: key, timestamp: now(), nonce, request }, wallet)
    const { text } = await fetchText(dialer, {
      ...{ url: `${url}/`, body: sealed.text, timeoutMs: probeLimits.timeoutMs, signal: limit },
      maxReplyBytes: probeLimits.replyBytes,
    })
    const prices = pricesIn(text, { sealed, wish, parties: { relay: key, self: wallet.identity, url } })
    return { ...about, addresses, ms: Math.round(performance.now() - began), prices, another: null }
  } catch (error) {
    signal?.throwIfAborted()
    const why = deadline.aborted ? silent(url, error) : (error as Error)
    return { ...about, addresses: [], ms: null, prices: null, another: null, error: why }
  }
}

interface Asked {
  readonly sealed: Parameters<typeof openAnswer<'quote'>>[1]
  readonly wish: { readonly bytes: number; readonly ttl: number; readonly maxPulls: number }
  readonly parties: Parameters<typeof openAnswer>[2]
}

/** A signed no is an answer too, without prices. @throws Refused without signature, ERR_UNTRUSTED */
function pricesIn(text: string, { sealed, wish, parties }: Asked): Prices | null {
  try {
    const { satoshis, prices } = openAnswer<'quote'>(text, sealed, parties).reply.result
    if (satoshis === String(ceilSatoshi(quoteUnits(wish, prices)))) return prices
    throw new ClientError(
      'ERR_UNTRUSTED',
      `${parties.url} quotes ${satoshis}, which its own prices do not give`,
    )
  } catch (error) {
    if (error instanceof Refused && error.signed) return null
    throw error
  }
}

const impostor = (url: string, key: Key): ClientError =>
  new ClientError('ERR_UNTRUSTED', `at ${url} answers another relay, ${key}`)
const full = (url: string): MarketError => new MarketError('ERR_BUSY', `${url} has no room left to sell`)
const silent = (url: string, cause: unknown): ClientError =>
  new ClientError('ERR_UNREACHABLE', `${url} does not answer within ${probeLimits.timeoutMs / 1000} s`, cause)
