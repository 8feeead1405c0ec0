/** A method of the RPC: what its parameters are, and what it does with them. */
import { z } from 'zod'
import { allSatoshi, transactionBytes } from '../../transaction/transaction.ts'
import type { DevnetNode } from './node.ts'
import { RpcError, rpcCodes } from '../rpc-error.ts'

export type Method = (node: DevnetNode, params: readonly unknown[]) => unknown

/** @param params a tuple; what is left out at its end has a default */
export function method<Params extends z.ZodType<unknown[]>>(
  params: Params,
  act: (node: DevnetNode, ...params: z.output<Params>) => unknown,
): Method {
  return (node, given) => {
    const parsed = params.safeParse(given)
    if (parsed.success) return act(node, ...parsed.data)
    const [issue] = parsed.error.issues
    throw new RpcError(
      rpcCodes.invalidParameter,
      `parameter ${issue?.path.join('.') || 'list'}: ${issue?.message}`,
    )
  }
}

/** One that changes nothing: what it sees is the state between two changes, not in the middle of one. */
export const reading = <Params extends z.ZodType<unknown[]>>(
  params: Params,
  act: (node: DevnetNode, ...params: z.output<Params>) => unknown,
): Method => method(params, (node, ...given) => node.read(() => act(node, ...given)))

export const none = z.tuple([])
/** As nodes take it: of either case. */
export const hex = z
  .string()
  .max(2 * transactionBytes, 'too long')
  .regex(/^(?:[0-9a-fA-F]{2})*$/, 'must be hexadecimal')
  .transform((text) => new Uint8Array(Buffer.from(text, 'hex')))
export const hash = z
  .string()
  .regex(/^[0-9a-fA-F]{64}$/, 'must be 64 hexadecimal digits')
  .toLowerCase()
export const count = z.int().min(0)
export const satoshis = z.int().min(1).max(allSatoshi)
/** Some methods take 0 and 1 as well. */
export const flag = z.union([z.boolean(), z.literal([0, 1]).transform((value) => value === 1)])

/** As nodes write amounts: in coins of 100 million satoshi. */
export const coinsOf = (amount: number): number => amount / 1e8
