/** What a test or a person may make a devnet do: mine, pay, forget blocks, fail. */
import { z } from 'zod'
import { Payee } from './payee.ts'
import { hash, hex, type Method, method, satoshis } from './method.ts'
import { devnetLimits } from './node.ts'

const mostTries = z.int().min(1).optional()
const blocks = z.int().min(0).max(devnetLimits.blocks)
const transactions = z.array(hex).max(devnetLimits.insistedTransactions).default([])
/** The year 2106, where the times of headers end. */
const seconds = z.int().min(0).max(0xffffffff)

export const controlMethods: Record<string, Method> = {
  generate: method(z.tuple([blocks, mostTries]), (node, count) => node.mine(count)),
  generatetoaddress: method(z.tuple([blocks, Payee, mostTries]), (node, count, script) =>
    node.mine(count, { script }),
  ),
  invalidateblock: method(z.tuple([hash]), (node, id) => node.setValidity(id, false).then(nothing)),
  reconsiderblock: method(z.tuple([hash]), (node, id) => node.setValidity(id, true).then(nothing)),
  faucet: method(z.tuple([Payee, satoshis]), (node, script, amount) => node.pay(script, amount)),
  'devnet.mine': method(z.tuple([transactions, z.boolean().default(true)]), (node, insisted, withMempool) =>
    node.mine(1, { transactions: insisted, withMempool }),
  ),
  'devnet.reorganize': method(z.tuple([z.int(), transactions]), (node, depth, insisted) =>
    node.reorganize(depth, insisted),
  ),
  'devnet.settime': method(z.tuple([seconds]), (node, time) => {
    node.setTime(time)
    return node.time
  }),
}

const nothing = (): null => null
