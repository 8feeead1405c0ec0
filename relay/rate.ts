/** Counting what strangers do, per network address and minute, in bounded memory. */
import { isIPv4, isIPv6, SocketAddress } from 'node:net'
import { MarketError } from '../market/errors.ts'

const windowMs = 60_000
const trackedAddresses = 100_000

/** At most `perMinute` events per address, or whoever is counted, in a minute. Full memory forgets nobody early: strangers then share one count. */
export class RateLimiter {
  readonly #perMinute: number
  readonly #sentence: string
  #windowStart = 0
  #counts = new Map<string, number>()

  constructor(perMinute: number, sentence = 'too many failed or stale messages from this address') {
    this.#perMinute = perMinute
    this.#sentence = sentence
  }

  /** True while the address may go on; counts nothing. */
  allows(address: string, now: number): boolean {
    this.#roll(now)
    return (this.#counts.get(this.#slot(address)) ?? 0) < this.#perMinute
  }

  /** @throws ERR_LIMIT with `retryAfterMs` once the address has used its minute up. */
  check(address: string, now: number): void {
    if (this.allows(address, now)) return
    const retryAfterMs = this.#windowStart + windowMs - now
    throw new MarketError('ERR_LIMIT', this.#sentence, {
      extras: { retryAfterMs },
    })
  }

  count(address: string, now: number): void {
    this.#roll(now)
    const slot = this.#slot(address)
    this.#counts.set(slot, (this.#counts.get(slot) ?? 0) + 1)
  }

  #roll(now: number): void {
    if (now >= this.#windowStart && now < this.#windowStart + windowMs) return
    this.#windowStart = now
    this.#counts = new Map()
  }

  #slot(address: string): string {
    return this.#counts.size < trackedAddresses || this.#counts.has(address) ? address : 'others'
  }
}

/** What limits count by: an IPv4 address, or the /64 an IPv6 address lies in, since one host commands a whole /64. */
export function limitAddress(address: string): string {
  const written = canonicalAddress(address)
  if (written === undefined || isIPv4(written)) return written ?? address
  const [head = '', tail] = written.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? [] : Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0')
  return `${[...left, ...zeros, ...right].slice(0, 4).join(':')}::/64`
}

/**
 * The one spelling of an IP address, however it is written, with what proxies put around it: a port, brackets; undefined
 * for what is no address. Else one caller could count as many.
 */
export function canonicalAddress(text: string): string | undefined {
  const bare = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(text)?.[1] ?? /^([\d.]+):\d{1,5}$/.exec(text)?.[1] ?? text
  const address = bare.split('%')[0]!
  if (isIPv4(address)) return address
  if (!isIPv6(address)) return undefined
  const written = new SocketAddress({ address, family: 'ipv6' }).address
  return /^::ffff:([\d.]+)$/.exec(written)?.[1] ?? written
}

/** The address a request came from; behind a trusted proxy, the last entry the proxy itself wrote, if it is one. */
export function callerAddress(
  request: { headers: Record<string, unknown>; socket: { remoteAddress?: string | undefined } },
  trustProxy: boolean,
): string {
  const forwarded = request.headers['x-forwarded-for']
  const last = trustProxy && typeof forwarded === 'string' ? forwarded.split(',').at(-1)?.trim() : undefined
  const claimed = last === undefined ? undefined : canonicalAddress(last)
  return limitAddress(claimed ?? request.socket.remoteAddress ?? 'unknown')
}
