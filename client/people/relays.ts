/** The relays the user means: the own ones, and what can be typed to name one. */
import { formatAddress, parseAddress, type RelayAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { ClientError, codeOf, told } from '../errors.ts'
import type { Dialer } from '../wire/dialer.ts'
import { fetchInfo } from '../wire/info.ts'

/** The user's own relays, in the order of the identity file. */
export async function ownRelays({ home }: Pick<Context, 'home'>): Promise<RelayAddress[]> {
  return (await home.me()).msg.request.relays.map(parseAddress)
}

/**
 * A full address of what the user typed, which may be anywhere; without a key, the relay found there now is pinned (trust on
 * first use).
 */
export async function resolveAddress(
  dialer: Dialer,
  text: string,
  signal?: AbortSignal,
): Promise<RelayAddress> {
  const address = await found(dialer, text, signal)
  dialer.allow(address.url)
  return address
}

async function found(dialer: Dialer, text: string, signal: AbortSignal | undefined): Promise<RelayAddress> {
  const hash = text.indexOf('#')
  if (hash >= 0) {
    checkKey(text.slice(hash + 1))
    return parseAddress(text)
  }
  const url = (text.includes('://') ? text : `http://${text}`).replace(/\/+$/, '')
  if (!URL.canParse(url)) throw new MarketError('ERR_MALFORMED', `${text} is not the address of a relay`)
  dialer.allow(url)
  const { key } = await fetchInfo(url, { signal, dialer })
  return parseAddress(`${url}#${key}`)
}

/** @throws ERR_MALFORMED saying what is wrong with the key of an address */
function checkKey(key: string): void {
  if (Key.safeParse(key).success) return
  const wrong =
    key.length === keyLength
      ? 'is none: it is hexadecimal in lower case and begins with 02 or 03'
      : `is too ${key.length < keyLength ? 'short' : 'long'}: it has ${key.length} characters instead of ${keyLength}`
  throw new MarketError('ERR_MALFORMED', `the key after # ${wrong}`)
}
const keyLength = 66

/** Whether the relay answers at its address; false when nobody does. @throws ERR_UNTRUSTED when it is another relay, or none */
export async function isThere(
  { dialer }: Pick<Context, 'dialer'>,
  { url, key }: RelayAddress,
  signal?: AbortSignal,
): Promise<boolean> {
  const info = await fetchInfo(url, { signal, dialer }).catch((error: unknown) => {
    if (codeOf(error) !== 'ERR_UNREACHABLE') throw error
    return undefined
  })
  if (info === undefined) return false
  if (info.key === key) return true
  throw new ClientError('ERR_UNTRUSTED', `${url} is another relay: its key is ${info.key}, not ${key}`)
}

/**
 * The own relays that `reference` names by address, URL or key, all without one; else the relay found there.
 * @throws ERR_NOT_FOUND for what is no address
 */
export async function relaysNamed(
  ctx: Context,
  reference: string | undefined,
  signal?: AbortSignal,
): Promise<RelayAddress[]> {
  const own = await ownRelays(ctx)
  if (reference === undefined) return own
  const named = own.filter((relay) => isNamed(relay, reference))
  if (named.length > 0) return named
  if (isWord(reference))
    throw new MarketError(
      'ERR_NOT_FOUND',
      `${told(reference)} is no relay of yours; ${own.length === 0 ? 'you have none yet: add one with relays add' : `your relays: ${own.map(({ url }) => url).join(' ')}`}`,
    )
  return [await resolveAddress(ctx.dialer, reference, signal)]
}

/** An amount or a friend's name, say: with nothing in it that addresses have. */
const isWord = (text: string): boolean => !/[.:/#[]/.test(text) && text !== 'localhost'

export const isNamed = (address: RelayAddress, reference: string): boolean =>
  [address.key, address.url, formatAddress(address)].includes(reference.replace(/\/+$/, ''))

/** Each address once, in the order of first mention. */
export const distinct = (all: readonly RelayAddress[]): RelayAddress[] => [
  ...new Map(all.map((address) => [formatAddress(address), address])).values(),
]
