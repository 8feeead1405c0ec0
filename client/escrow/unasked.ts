/** What a relay says first of contracts: signed messages in records of its own outbox (docs/protocol.md §7.3). */
import { z } from 'zod'
import {
  ContractClosed,
  ContractEnding,
  ContractPaymentDue,
  ContractRequestPayment,
} from '../../contracts/escrow/messages.ts'
import { decodePayload } from '../../market/payload.ts'
import { parsePath } from '../../market/record.ts'
import type { Context } from '../context.ts'
import { isRetryable, Refused } from '../errors.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { isTooFar, resumeAfter } from '../wire/places.ts'

const Unasked = z.discriminatedUnion('type', [
  ContractRequestPayment,
  ContractPaymentDue,
  ContractEnding,
  ContractClosed,
])
export type Unasked = z.infer<typeof Unasked>
const Envelope = z.looseObject({ request: Unasked })

export const unaskedLimits = {
  /** Read in one pass; the next one goes on. */
  records: 100,
} as const

export interface Heard {
  readonly messages: readonly Unasked[]
  /** They are dealt with, and need not come again. */
  settle(): Promise<void>
}

export const nothingHeard: Heard = { messages: [], settle: async () => undefined }

/** What it put there since it was listened to last; what is unknown, or not to be had any more, says nothing. @throws as `Connection.call` */
export async function unasked(
  ctx: Pick<Context, 'home' | 'wallet' | 'now'>,
  connection: Connection,
  options: CallOptions = {},
): Promise<Heard> {
  const { key } = connection.address
  const saved = await ctx.home.cursor(key, key)
  const isLost = saved !== undefined && isTooFar(saved, ctx.now())
  const position = saved === undefined || isLost ? { afterTs: 0 } : { cursor: saved }
  const query = { type: 'inventory', owner: key, tag: 'contract', limit: unaskedLimits.records } as const
  const { reply } = await connection.call({ ...query, ...position }, options).catch((error: unknown) => {
    const again = saved && resumeAfter(error, saved, ctx.now())
    if (again === undefined) throw error
    return connection.call({ ...query, ...again }, options)
  })
  const messages: Unasked[] = []
  const paths = reply.result.map((entry) => (typeof entry === 'string' ? entry : entry.path))
  for (const path of paths.filter((one) => parsePath(one).owner === key)) {
    const record = await readOnce(connection, path, options)
    if (record?.msg.from !== key) continue
    const message = await messageIn(ctx, record).catch(() => undefined) // one that nobody can read says nothing
    if (message !== undefined) messages.push(message)
  }
  const settle = () => ctx.home.advance(key, key, reply.cursor)
  return { messages, settle }
}

/** Undefined for what the relay does not give away any more. */
async function readOnce(connection: Connection, path: string, options: CallOptions) {
  try {
    const { record } = await connection.call({ type: 'read', path }, options)
    await connection.finishRead(path)
    return record
  } catch (error) {
    if (!(error instanceof Refused) || !error.signed || isRetryable(error)) throw error
    return undefined
  }
}

async function messageIn(
  { wallet }: Pick<Context, 'wallet'>,
  { msg, content }: { msg: { from: string; request: { recordId: string } }; content: Uint8Array },
): Promise<Unasked | undefined> {
  const named = { recordId: msg.request.recordId, counterparty: msg.from }
  const { payload } = decodePayload(await wallet.decrypt(content, named))
  return payload.type === 'envelope' ? Envelope.safeParse(payload.msg).data?.request : undefined
}
