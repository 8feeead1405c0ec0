/**
 * BRC-34: a host says that it takes messages for somebody, who signed that it may (docs/protocol.md §14.3). Everything but the
 * operator's own list of whom he does not want is verified here.
 */
import { fromHex, toUtf8 } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import { invoiceNumber } from '../../market/identity.ts'
import { verify } from '../../market/secp256k1.ts'
import type { Key } from '../../market/units.ts'
import type { Signer } from '../transaction/sign.ts'
import type { KeyName, KeyWallet } from '../wallet/key-wallet.ts'
import { parsePattern } from './box-pattern.ts'
import { keyField, textField } from './fields.ts'
import { isLinked, openKeyOf, pushDropScript, readPushDrop } from './pushdrop.ts'

export const phipTopic = 'tm_phip'
/** As BRC-87 has names, and as BRC-34 has it. */
export const phipServices = ['ls_phip', 'PHIP'] as const

/** What somebody lets a host say. */
export interface Routing {
  /** Of the host. */
  readonly host: Key
  /** Where the host is, `name` or `name:port`. */
  readonly domain: string
  /** Which boxes, as a regular expression; all of them without one. */
  readonly boxes?: string | undefined
}

export interface Phip extends Routing {
  readonly user: Key
  /** Of the user, over `routingMessage`. */
  readonly authorization: Uint8Array
}

/** What a user signs with. */
export const routingKey: KeyName & { protocolID: [1, string] } = {
  protocolID: [1, 'PHIP authorization'],
  keyID: '1',
  counterparty: 'anyone',
}
const routingInvoice = invoiceNumber(routingKey.protocolID, routingKey.keyID)
/** Its protocol has a name that BRC-43 would not allow. */
const tokenInvoice = '2-phip-1'
const everything = 'ALL'

export const routingMessage = ({ host, domain, boxes = everything }: Routing): string =>
  `${host} ${domain} ${boxes}`

/** Reads what `routingMessage` makes, and nothing else. */
export function parseRouting(message: string): Routing | undefined {
  const [, host, domain, boxes] = /^([0-9a-f]{66}) (\S+) (.+)$/s.exec(message) ?? []
  if (host === undefined || domain === undefined || boxes === undefined) return undefined
  const routing = { host, domain, ...(boxes !== everything && { boxes }) }
  return isRouting(routing) ? routing : undefined
}

/** Whether the user let the host say this. @param signature DER */
export function isAuthorized(routing: Routing, user: Key, signature: Uint8Array): boolean {
  return verify(signature, sha256(routingMessage(routing)), openKeyOf(user, routingInvoice))
}

/** @param keys of the host */
export function phipScript({ domain, boxes, user, authorization }: Omit<Phip, 'host'>, keys: KeyWallet) {
  const fields = [
    ...[toUtf8('PHIP'), fromHex(keys.identity), toUtf8(domain), fromHex(user), authorization],
    ...(boxes === undefined ? [] : [toUtf8(boxes)]),
  ]
  return pushDropScript(fields, phipSigner(keys))
}

export const phipSigner = (keys: KeyWallet): Signer => keys.openKey(tokenInvoice)

/** Its form only. */
export function parsePhip(script: Uint8Array): Phip | undefined {
  const { fields = [] } = readPushDrop(script) ?? {}
  if (fields.length !== 5 && fields.length !== 6) return undefined
  const [name, host, domain, user] = [
    textField(fields[0]),
    keyField(fields[1]),
    textField(fields[2]),
    keyField(fields[3]),
  ]
  const boxes = textField(fields[5])
  if (name !== 'PHIP' || host === undefined || domain === undefined || user === undefined) return undefined
  if (fields.length === 6 && boxes === undefined) return undefined
  const routing = { host, domain, ...(boxes !== undefined && { boxes }) }
  return isRouting(routing) ? { ...routing, user, authorization: fields[4]! } : undefined
}

/** What host and user both signed. */
export function readPhip(script: Uint8Array): Phip | undefined {
  const found = parsePhip(script)
  if (found === undefined || !isLinked(readPushDrop(script)!, found.host, tokenInvoice)) return undefined
  return isAuthorized(found, found.user, found.authorization) ? found : undefined
}

/** Names no machine of ours, and boxes by a pattern that is safe to test; `ALL` as a pattern would read like none. */
function isRouting({ domain, boxes }: Routing): boolean {
  const isDomain =
    domain.length <= 259 && /^(?=[^:]*[a-z])[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[1-9][0-9]{0,4})?$/.test(domain)
  if (!isDomain || /^(?:.*\.)?localhost(?::|$)/.test(domain)) return false
  return boxes === undefined || (boxes !== everything && parsePattern(boxes) !== undefined)
}
