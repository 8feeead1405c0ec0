/** The JSON-RPC of a devnet: the subset of SV Node v1.2.2 that we use, in its words and with its codes, and a few methods more. */
import { setTimeout as wait } from 'node:timers/promises'
import { z } from 'zod'
import { MarketError } from '../../../market/errors.ts'
import { Fault, type Faults } from './faults.ts'
import type { Method } from './method.ts'
import type { DevnetNode } from './node.ts'
import { blockMethods } from './rpc-blocks.ts'
import { controlMethods } from './rpc-control.ts'
import { RpcError, rpcCodes } from '../rpc-error.ts'
import { transactionMethods } from './rpc-transactions.ts'

const methods = new Map<string, Method>(
  Object.entries({ ...blockMethods, ...transactionMethods, ...controlMethods }),
)
const mostCallsOfBatch = 100

export interface Reply {
  readonly result: unknown
  readonly error: { code: number; message: string } | null
  readonly id: unknown
}

/** Undefined: the connection is to be closed without an answer. */
export type Outcome = Reply | readonly Reply[] | undefined

const Call = z.object({
  method: z.string(),
  params: z
    .array(z.unknown())
    .nullish()
    .transform((params) => params ?? []),
  id: z.unknown().optional(),
})

/** Answers a request, or each of a batch in turn; never throws. */
export async function answer(node: DevnetNode, faults: Faults, body: string): Promise<Outcome> {
  const request = parse(body)
  if (request instanceof RpcError) return failure(request, null)
  if (!Array.isArray(request)) return answerOne(node, faults, request)
  if (request.length > mostCallsOfBatch)
    return failure(
      new RpcError(rpcCodes.invalidRequest, `a batch has at most ${mostCallsOfBatch} calls`),
      null,
    )
  const replies: Reply[] = []
  for (const call of request) {
    const reply = await answerOne(node, faults, call)
    if (reply === undefined) return undefined
    replies.push(reply)
  }
  return replies
}

async function answerOne(node: DevnetNode, faults: Faults, request: unknown): Promise<Reply | undefined> {
  const call = Call.safeParse(request)
  const id = (request as { id?: unknown } | null)?.id ?? null // any JSON value has or has not an id
  if (!call.success) return failure(new RpcError(rpcCodes.invalidRequest, 'Invalid Request object'), id)
  const { method, params } = call.data
  try {
    if (method === 'devnet.fault') return { result: setFault(faults, params), error: null, id }
    const fault = faults.take(method)
    if (fault?.kind === 'refuse') return undefined
    if (fault?.kind === 'fail') throw new RpcError(fault.code, fault.message)
    if (fault?.kind === 'delay') await wait(fault.ms, undefined, { ref: false })
    const act = methods.get(method)
    if (act === undefined) throw new RpcError(rpcCodes.methodNotFound, 'Method not found')
    const result = await act(node, params)
    return fault?.kind === 'drop' ? undefined : { result, error: null, id }
  } catch (error) {
    return failure(error, id)
  }
}

/** One fault; none takes back all there are. */
function setFault(faults: Faults, [given]: readonly unknown[]): null {
  if (given === undefined) {
    faults.clear()
    return null
  }
  const fault = Fault.safeParse(given)
  if (!fault.success)
    throw new RpcError(rpcCodes.invalidParameter, `a fault: ${fault.error.issues[0]?.message}`)
  faults.add(fault.data)
  return null
}

function parse(body: string): unknown {
  try {
    const value: unknown = JSON.parse(body)
    if (typeof value === 'object' && value !== null) return value
    return new RpcError(rpcCodes.parseError, 'Top-level object parse error')
  } catch {
    return new RpcError(rpcCodes.parseError, 'Parse error')
  }
}

function failure(error: unknown, id: unknown): Reply {
  if (error instanceof RpcError)
    return { result: null, error: { code: error.code, message: error.message }, id }
  const message = error instanceof MarketError ? error.message : `internal error: ${String(error)}`
  return { result: null, error: { code: rpcCodes.internalError, message }, id }
}
