/** Who hosts which topic (SHIP) and which lookup service (SLAP) of overlays: tokens of BRC-88 (docs/protocol.md §14.2). */
import { fromHex, toUtf8 } from '../../market/bytes.ts'
import { invoiceNumber } from '../../market/identity.ts'
import type { Key } from '../../market/units.ts'
import type { Signer } from '../transaction/sign.ts'
import type { KeyWallet } from '../wallet/key-wallet.ts'
import { keyField, textField } from './fields.ts'
import { isLinked, pushDropScript, readPushDrop } from './pushdrop.ts'

export type Hosting = 'SHIP' | 'SLAP'

/** Of what is advertised, the topic and service that know of it. */
export const hostingNames = {
  SHIP: { topic: 'tm_ship', service: 'ls_ship', prefix: 'tm_' },
  SLAP: { topic: 'tm_slap', service: 'ls_slap', prefix: 'ls_' },
} as const

export interface HostAdvert {
  readonly identity: Key
  /** A base URI of BRC-101. */
  readonly uri: string
  /** `tm_…` of a SHIP, `ls_…` of a SLAP. */
  readonly name: string
}

const uriBytes = 512
const invoices = {
  SHIP: invoiceNumber([2, 'service host interconnect'], '1'),
  SLAP: invoiceNumber([2, 'service lookup availability'], '1'),
} as const

/** As WalletAdvertiser makes it. @param keys of whoever hosts */
export function hostAdvertScript(
  hosting: Hosting,
  { uri, name }: Pick<HostAdvert, 'uri' | 'name'>,
  keys: KeyWallet,
): Uint8Array {
  const fields = [toUtf8(hosting), fromHex(keys.identity), toUtf8(uri), toUtf8(name)]
  return pushDropScript(fields, keys.openKey(invoices[hosting]))
}

/** Of all that `hostAdvertScript` makes. */
export const hostingSigners = (keys: KeyWallet): Signer[] =>
  Object.values(invoices).map((invoice) => keys.openKey(invoice))

/** Its form only. */
export function parseHostAdvert(hosting: Hosting, script: Uint8Array): HostAdvert | undefined {
  const { fields = [] } = readPushDrop(script) ?? {}
  const [kind, identity, uri, name] = [
    textField(fields[0]),
    keyField(fields[1]),
    textField(fields[2]),
    textField(fields[3]),
  ]
  if (fields.length !== 4 || kind !== hosting || identity === undefined) return undefined
  if (uri === undefined || fields[2]!.length > uriBytes || !isAdvertisable(uri)) return undefined
  if (name === undefined || !isName(name) || !name.startsWith(hostingNames[hosting].prefix)) return undefined
  return { identity, uri, name }
}

/** What its host signed. */
export function readHostAdvert(hosting: Hosting, script: Uint8Array): HostAdvert | undefined {
  const found = parseHostAdvert(hosting, script)
  const isMade = found !== undefined && isLinked(readPushDrop(script)!, found.identity, invoices[hosting])
  return isMade ? found : undefined
}

/** BRC-87. */
const isName = (name: string): boolean => /^(?=.{1,50}$)(?:tm|ls)(?:_[a-z]+)+$/.test(name)

/** BRC-101: a base address that others can reach. */
export function isAdvertisable(uri: string): boolean {
  const web = /^(?:https(?:\+bsvauth(?:\+smf|\+scrypt-offchain)?|\+rtt)?|wss):\/\/(?=[^\s]+$)/.exec(uri)
  if (web !== null) return isBase(`https://${uri.slice(web[0].length)}`)
  return isRadio(uri)
}

function isBase(url: string): boolean {
  if (!URL.canParse(url)) return false
  const { hostname, pathname, search, hash, username } = new URL(url)
  const isBare = pathname === '/' && search === '' && hash === '' && username === ''
  return isBare && !/^(?:.*\.)?localhost\.?$/.test(hostname)
}

/** `js8c+bsvauth+smf:?lat=…&long=…&freq=…&radius=…` */
function isRadio(uri: string): boolean {
  const [scheme, query] = uri.split(/:\?/, 2)
  if (scheme !== 'js8c+bsvauth+smf' || query === undefined) return false
  const given = new URLSearchParams(query)
  const number = (name: string) => Number.parseFloat(given.get(name) ?? '')
  return (
    Math.abs(number('lat')) <= 90 &&
    Math.abs(number('long')) <= 180 &&
    number('freq') > 0 &&
    number('radius') > 0
  )
}
