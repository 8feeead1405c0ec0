/** Where a relay is and which key it must prove (docs/protocol.md §8.1): `http(s)://host[:port][/prefix]#<relay key>`. */
import { z } from 'zod'
import { MarketError } from './errors.ts'
import { Key } from './units.ts'

const addressLength = 512
const bare = /^(?:[0-9]+(?:\.[0-9]+){3}|\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]+\.onion)(?::[0-9]+)?#/

export interface RelayAddress {
  /** Without fragment, without trailing slash. */
  readonly url: string
  readonly key: Key
}

/** @throws ERR_MALFORMED. A bare `ip[:port]` or `x.onion[:port]` means http (§8.1). */
export function parseAddress(text: string): RelayAddress {
  // A URL parser forgives white space, backslashes and look-alike letters; what people read and compare must not.
  if (text.length > addressLength || !/^[\x21-\x5b\x5d-\x7e]+$/.test(text)) {
    throw new MarketError(
      'ERR_MALFORMED',
      `a relay address is at most ${addressLength} printable ASCII characters`,
    )
  }
  const full = bare.test(text) ? `http://${text}` : text
  let url: URL
  try {
    url = new URL(full)
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', 'a relay address is http(s)://host[:port][/prefix]#<relay key>', {
      cause,
    })
  }
  const key = Key.safeParse(url.hash.slice(1))
  if (!key.success) throw new MarketError('ERR_MALFORMED', 'a relay address ends in #<relay key>')
  const plain = url.username === '' && url.password === '' && url.search === ''
  if (!/^https?:\/\//i.test(full) || !plain) {
    throw new MarketError('ERR_MALFORMED', 'a relay address is http(s) without user, password or query')
  }
  return { url: `${url.protocol}//${url.host}${url.pathname}`.replace(/\/+$/, ''), key: key.data }
}

export const formatAddress = ({ url, key }: RelayAddress): string => `${url}#${key}`

export const Address = z
  .string()
  .max(addressLength)
  .refine(
    (text) => {
      try {
        return parseAddress(text) !== undefined
      } catch {
        return false
      }
    },
    { error: 'not a relay address' },
  )
