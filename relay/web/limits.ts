/** What strangers and peers may make mutual authentication hold or compute. Each has a default; all are enforced. */
import { z } from 'zod'

const kib = 1024
const count = (fallback: number, description: string) =>
  z.int().min(1).default(fallback).describe(description)

export const WebAuthLimits = z.strictObject({
  handshakeBytes: count(64 * kib, 'bytes of one message to /.well-known/auth'),
  handshakesPerMinute: count(600, 'messages to /.well-known/auth of one network address'),
  failuresPerMinute: count(120, 'signatures of one network address that did not verify'),
  newSessions: count(10_000, 'sessions whose peer has not yet proved its key; the oldest gives way'),
  newSessionMs: count(300_000, 'milliseconds that such a session waits for its first request'),
  sessions: count(20_000, 'sessions whose peer has proved its key; the one unused for longest gives way'),
  sessionIdleMs: count(1_800_000, 'milliseconds after which an unused session ends'),
  noncesPerSession: count(8192, 'requests of one session; after them its peer begins another'),
  nonces: count(262_144, 'nonces remembered in all sessions; about 30 MB when full'),
})
export type WebAuthLimits = z.infer<typeof WebAuthLimits>

/**
 * The `maxHeaderSize` a listener needs that takes payments: a payment travels base64 in `x-bsv-payment`, and one
 * with a long unconfirmed ancestry has more than 100 KB. Node answers 431 above its limit, before any request.
 */
export const paymentHeaderBytes = 256 * kib
