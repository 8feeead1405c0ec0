/** The relay of a contract as it is spoken to: requests in, answers of the form that the protocol gives them. */
import type { z } from 'zod'
import type { contractReplies, contractRequests } from '../../contracts/escrow/wire.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { type Heard, nothingHeard, unasked } from './unasked.ts'

export type ContractRequest = z.infer<(typeof contractRequests)[number]>
export type AnswerTo<T extends ContractRequest['type']> = z.infer<(typeof contractReplies)[T]>['result']

export interface Peer {
  /** @throws Refused, ERR_UNREACHABLE, ERR_UNTRUSTED, ERR_UNSUPPORTED */
  ask<R extends ContractRequest>(request: R): Promise<AnswerTo<R['type']>>
  /** What it said without being asked. @throws as `ask` */
  unasked(): Promise<Heard>
}

/** A relay over its connection; what it answers is proven to be its own. */
export const relayPeer = (
  ctx: Pick<Context, 'home' | 'wallet' | 'now'>,
  connection: Connection,
  options: CallOptions = {},
): Peer => ({
  unasked: () => unasked(ctx, connection, options),
  async ask<R extends ContractRequest>(request: R) {
    const { reply } = await connection.call<ContractRequest>(request, options)
    return reply.result as AnswerTo<R['type']> // checked by the schema of this type
  },
})

/** Where nobody knows how to reach it any more: money comes back by the chain alone. */
export const lostPeer: Peer = {
  ask: () => Promise.reject(new ClientError('ERR_UNREACHABLE', 'it is not known where this relay is')),
  unasked: async () => nothingHeard,
}
