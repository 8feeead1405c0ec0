/** What becomes of a message that went to other hosts, as a message into a box of its sender (docs/protocol.md §14.4). */
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256Hex } from '../../market/hash.ts'
import { freePrices } from '../../market/price.ts'
import { dayMs, type Key } from '../../market/units.ts'
import { BoxError } from '../boxes/codes.ts'
import { encodeContent } from '../boxes/content.ts'
import { blocked, recipientFee } from '../boxes/fees.ts'
import { type Quotas, sendToBoxes } from '../store/boxes.ts'
import type { RecordBatch } from '../store/records.ts'

const reportsBox = 'delivery_reports'
const ttlMs = 30 * dayMs

export interface Report {
  readonly messageId: string
  readonly recipient: Key
  readonly messageBox: string
  readonly status: 'delivered' | 'refused' | 'given up'
  readonly hosts: readonly HostReport[]
  readonly at: number
}

export interface HostReport {
  readonly host: string
  readonly status: Report['status']
  readonly code?: string
}

export interface ReportParts {
  readonly keys: Pick<KeyWallet, 'identity'>
  readonly quotas: Quotas
  /** @throws ERR_BUSY */
  readonly checkRoom: (bytes: number) => void
}

/**
 * Free of charge, as it was paid with the message. A reader who wants none from us, or whose boxes are full, gets none; so when
 * there is no room for it.
 * @param place of the departure: the report of it is put once
 * @returns why it was not put
 */
export function putReport(
  batch: RecordBatch,
  { keys, quotas, checkRoom }: ReportParts,
  { place, reader, report }: { place: number; reader: Key; report: Report },
): string | undefined {
  const delivery = { sender: keys.identity, box: reportsBox, recipient: reader }
  if (recipientFee(batch, { hasTill: false }, delivery).fee === blocked) return 'ERR_DELIVERY_BLOCKED'
  const body = JSON.stringify({ type: 'delivery', ...report })
  const messageId = sha256Hex(`${reportsBox} ${place}`).slice(0, 32)
  const said = { box: reportsBox, messageId, body, createdAt: report.at }
  const content = encodeContent(said, new Uint8Array())
  try {
    sendToBoxes(batch, {
      ...{ sender: keys.identity, box: reportsBox, ttlMs },
      messages: [{ recipient: reader, messageId, content, hash: sha256Hex(body) }],
      // Nobody who leaves his reports unread keeps others from theirs.
      quotas: { ...quotas, boxSent: Number.POSITIVE_INFINITY, boxSentBytes: Number.POSITIVE_INFINITY },
      agree: (_batch, _reader, { bytes, expires }) => {
        checkRoom(bytes)
        return { owner: keys.identity, terms: { purse: 'credit', prices: freePrices, paidUntil: expires } }
      },
    })
    return undefined
  } catch (error) {
    if (error instanceof BoxError || error instanceof MarketError) return error.code
    throw error
  }
}
