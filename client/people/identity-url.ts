/** An identity file in a URL: after its `#` the file itself, before it the relay that gives the newest one (docs/protocol.md §8.2). */
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { z } from 'zod'
import { fromUtf8 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { type IdentityFile, identityLimits, openIdentity } from '../../market/identity-file.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import { namesIn, readJson } from '../home/durable.ts'
import type { Home } from '../home/home.ts'
import { fetchText } from '../wire/http.ts'

const urlLimits = { timeoutMs: 5000 } as const
const wellKnown = '/.well-known/relay-identity/'
/** For those who have no relay: nothing can be asked there. */
const scheme = 'relay-identity:'

/** Where a relay serves the file, if its user asked it to. */
export const publicUrl = (relay: string, key: Key): string => `${relay}${wellKnown}${key}`

/** The whole file as a URL of the first relay in it. */
export function identityUrl({ text, msg }: IdentityFile): string {
  const [address] = msg.request.relays
  const where = address === undefined ? `${scheme}${msg.from}` : publicUrl(address.split('#')[0]!, msg.from) // before the key
  return `${where}#${deflateRawSync(text).toString('base64url')}`
}

/**
 * The text of an identity file, given itself or as a URL: from its fragment, else from the relay.
 * @throws ERR_MALFORMED, ERR_NOT_FOUND when it is not published there, ERR_UNTRUSTED when it is another's, as `fetchText`
 */
export async function identityText(ctx: Context, given: string): Promise<string> {
  const url = given.trim()
  if (!isIdentityUrl(url)) return given
  const [place = '', packed] = url.split('#')
  const key = /[/:]([0-9a-f]{66})$/.exec(place)?.[1]
  if (key === undefined)
    throw new MarketError('ERR_MALFORMED', `the URL of an identity ends in ${wellKnown}KEY, and #… perhaps`)
  const text = packed === undefined ? await fetched(ctx, { url: place, key }) : unpacked(packed)
  if (openIdentity(text).msg.from === key) return text
  throw new ClientError('ERR_UNTRUSTED', 'the URL leads to the identity file of somebody else')
}

export const isIdentityUrl = (text: string): boolean => /^(?:https?:\/\/|relay-identity:)\S+$/i.test(text)

async function fetched(
  { dialer, notify }: Context,
  { url, key }: { url: string; key: Key },
): Promise<string> {
  if (url.startsWith(scheme))
    throw new MarketError('ERR_MALFORMED', 'this URL has no relay and nothing after a #')
  dialer.allow(url)
  const { timeoutMs } = urlLimits
  const request = { url, timeoutMs, maxReplyBytes: identityLimits.fileBytes, shown: url }
  const { status, text, headers } = await fetchText(dialer, request)
  if (status === 404) throw new MarketError('ERR_NOT_FOUND', `there is no identity file at ${url}`)
  if (status !== 200) throw new ClientError('ERR_UNREACHABLE', `${url} answers with status ${status}`)
  if (Number(headers['relay-identity-forks'] ?? 0) > 0) notify({ type: 'friend-forked', friend: key })
  return text
}

/** Where the URL of an identity leads: its user named it, whatever network that is in. */
export function placeIn(given: string): string | undefined {
  const url = given.trim()
  return isIdentityUrl(url) && !url.startsWith(scheme) && URL.canParse(url) ? new URL(url).origin : undefined
}

const Named = z.looseObject({ named: z.string().optional() })

/** Where the user himself said that friends are to be found. */
export async function namedPlaces(home: Home): Promise<string[]> {
  const names = (await namesIn(home.path('friends'))).filter((name) => name.endsWith('.json'))
  // What is damaged is told of where friends are read.
  const all = names.map((name) => readJson(home.path('friends', name), Named).catch(() => undefined))
  return (await Promise.all(all)).flatMap((saved) => saved?.named ?? [])
}

function unpacked(packed: string): string {
  try {
    const options = { maxOutputLength: identityLimits.fileBytes }
    return fromUtf8(inflateRawSync(Buffer.from(packed, 'base64url'), options))
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', 'what follows the # is no identity file: is it whole?', { cause })
  }
}
