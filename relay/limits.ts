/** This relay's policy numbers. What is published in the info document is enforced; protocol limits live in market/units.ts. */
import { z } from 'zod'
import { UsageError } from './operator/usage.ts'
import { paymentHeaderBytes } from './web/limits.ts'

const kib = 1024
const mib = 1024 * kib
const count = (fallback: number, description: string) =>
  z.int().min(1).default(fallback).describe(description)

export const Limits = z.strictObject({
  recordBytes: count(1 * mib, 'stored bytes of one record'),
  ttl: count(366 * 86_400, 'longest life of a record, seconds'),
  page: count(1000, 'entries of one inventory page'),
  batch: count(256, 'messages in one HTTP batch'),
  bodyBytes: count(8 * mib, 'bytes of one HTTP body'),
  replyBytes: count(8 * mib, 'bytes of the answer to one batch'),
  subscriptions: count(64, 'listens of one WebSocket'),
  subscriptionsPerAddress: count(2000, 'listens of one network address'),
  replay: count(1_000_000, 'remembered requests that are still fresh'),
  headerBytes: z
    .int()
    .min(1)
    .optional()
    .describe('bytes of one HTTP header; 16 KiB, and 256 KiB where payments travel in it'),
  bodiesInFlightBytes: count(256 * mib, 'bytes of all bodies being received or answered at once'),
  connections: count(20_000, 'WebSockets at once'),
  connectionsPerAddress: count(1000, 'WebSockets at once of one network address (IPv6: /64)'),
  pipelined: count(64, 'requests of one WebSocket being answered at once'),
  socketBufferBytes: count(4 * mib, 'unsent bytes of one WebSocket before its reader counts as slow'),
  newcomersPerDay: count(1000, 'newcomers that are given credit in a day, with --grant-new'),
  newcomersPerAddressPerDay: count(3, 'the same of one network address (IPv6: /64)'),
  boxBodyBytes: count(1 * mib, 'bytes of the body of a message for a box'),
  boxRecipients: count(100, 'recipients of one such message'),
  boxMessages: count(10_000, 'messages in all boxes of one recipient'),
  boxBytes: count(1024 * mib, 'stored bytes of these'),
  boxSent: count(10_000, 'messages of one sender in boxes of others'),
  boxSentBytes: count(1024 * mib, 'stored bytes of these'),
  boxListedBytesPerDay: count(1024 * mib, 'bytes that a recipient lists free of charge in a day'),
  boxRequestsPerMinute: count(1000, 'requests about message boxes of one identity in a minute'),
  adverts: count(10_000, 'adverts on the board'),
  advertBits: count(20, 'least work of these, and of its own advert: leading zero bits'),
  failuresPerMinute: count(120, 'failed verifications per network address and minute'),
  staleRepliesPerMinute: count(30, 'signed ERR_STALE replies per network address and minute'),
})
export type Limits = z.infer<typeof Limits>

/** `name=value` as given on the command line. @throws UsageError naming the limits there are. */
export function parseLimit(text: string): [string, number] {
  const [name = '', value = ''] = text.split('=', 2)
  if (!Object.hasOwn(Limits.shape, name) || !/^[1-9][0-9]{0,14}$/.test(value)) {
    const names = Object.keys(Limits.shape).join(', ')
    throw new UsageError(`--limit takes NAME=NUMBER with a name of: ${names}`)
  }
  return [name, Number(value)]
}

/** Of a listener: a payment is a header of its own (§7.6), and waits for nobody to be known before it is read. */
export const headerBytesOf = ({ headerBytes }: Limits, takesPayments: boolean): number =>
  headerBytes ?? (takesPayments ? paymentHeaderBytes : 16 * kib)

/** What a batch reply keeps free around its elements, and for a refusal in the place of each. */
export const batchReplyBytes = (elements: number): number => (elements + 1) * kib

/** A body must hold a largest record, and an answer must hold one too. */
export function checkLimits(limits: Limits): void {
  const record = Math.ceil(limits.recordBytes / 3) * 4 + 4 * kib
  const needed = {
    bodyBytes: record,
    replyBytes: record + batchReplyBytes(limits.batch),
    bodiesInFlightBytes: record,
    socketBufferBytes: record,
  }
  for (const [name, bytes] of Object.entries(needed)) {
    if (limits[name as keyof typeof needed] < bytes) {
      throw new UsageError(`limit ${name} must be at least ${bytes} to carry a record of recordBytes`)
    }
  }
}
