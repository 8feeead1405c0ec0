/** Where somebody has his message boxes, as he says himself: a token of `tm_messagebox` (docs/protocol.md §14.1). */
import { fromHex, toUtf8 } from '../../market/bytes.ts'
import { invoiceNumber } from '../../market/identity.ts'
import type { Key } from '../../market/units.ts'
import type { KeyWallet } from '../wallet/key-wallet.ts'
import { keyField, textField } from './fields.ts'
import { isLinked, pushDropScript, readPushDrop } from './pushdrop.ts'

export const boxTopic = 'tm_messagebox'
export const boxService = 'ls_messagebox'

export interface BoxHost {
  readonly identity: Key
  /** As its owner wrote it; whether somebody goes there is his own affair. */
  readonly host: string
}

const hostBytes = 512
const invoice = invoiceNumber([1, 'messagebox advertisement'], '1')

export const boxHostScript = (host: string, keys: KeyWallet): Uint8Array =>
  pushDropScript([fromHex(keys.identity), toUtf8(host)], keys.openKey(invoice))

/** Its form only. */
export function parseBoxHost(script: Uint8Array): BoxHost | undefined {
  const { fields = [] } = readPushDrop(script) ?? {}
  const identity = keyField(fields[0])
  const host = textField(fields[1])
  if (fields.length !== 2 || identity === undefined || host === undefined) return undefined
  return fields[1]!.length <= hostBytes && isWebAddress(host) ? { identity, host } : undefined
}

/** What its owner signed. */
export function readBoxHost(script: Uint8Array): BoxHost | undefined {
  const found = parseBoxHost(script)
  return found !== undefined && isLinked(readPushDrop(script)!, found.identity, invoice) ? found : undefined
}

const isWebAddress = (text: string): boolean => /^https?:\/\/[^\s]+$/.test(text) && URL.canParse(text)
