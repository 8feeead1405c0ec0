/** A transaction from its outputs: what pays for it is found, reserved and put into it; signing and sending follow. */
import { randomInt } from 'node:crypto'
import { fromHex, toHex } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import { type Beef, lineage, parseBeef, verifyBeef } from '../../transaction/beef.ts'
import {
  finalSequence,
  type Output,
  parseOutpoint,
  serializeTransaction,
  type Transaction,
} from '../../transaction/transaction.ts'
import type { Batch } from '../coins/batch.ts'
import { fail, reserve } from '../coins/moves.ts'
import { type Action, type ActionInput, type ActionOutput, fundsBasket } from '../coins/rows.ts'
import { newReference } from '../coins/store.ts'
import { mostWaits } from './flights.ts'
import { changeAmounts, changeLimits, mostPaidFeeRate, type Shape } from './draft-size.ts'
import { countedKey, ownScript } from '../own-keys.ts'
import { selectCoins } from './select.ts'
import type { CreateArgs } from './args.ts'
import { insufficientFunds, invalidParameter } from './errors.ts'
import type { WalletParts } from '../wallet-parts.ts'

/** An action whose coins are reserved, on disk, and the transaction as far as it is signed. */
export interface Draft {
  readonly action: Action
  readonly template: Transaction
}

/**
 * In flight from here on: the caller ends that.
 * @throws WERR_INSUFFICIENT_FUNDS, WERR_INVALID_PARAMETER; ERR_TRANSACTION_REFUSED for an `inputBEEF` that proves nothing
 */
export async function draft(parts: WalletParts, args: CreateArgs): Promise<Draft> {
  const { chain } = parts
  const beef = args.inputBEEF === undefined ? undefined : ofInputs(parseBeef(args.inputBEEF), args)
  if (beef !== undefined) await verifyBeef(beef, chain)
  if (new Set(args.inputs.map(({ outpoint }) => outpoint)).size !== args.inputs.length)
    throw invalidParameter('inputs', 'outputs that differ: none is spent twice')
  await parts.store.change((batch) => expire(parts, batch))
  for (let waits = 0; ; waits++) {
    try {
      const feeRate = Math.min(await chain.feeRate(), mostPaidFeeRate)
      return await reserveCoins(parts, args, { beef, feeRate })
    } catch (error) {
      const isPoor = error instanceof MarketError && error.code === 'ERR_INSUFFICIENT_FUNDS'
      if (!isPoor || waits >= mostWaits || !(await parts.flights.next())) throw error
    }
  }
}

/** Without what the inputs do not descend from: it would be kept for ever. */
const ofInputs = ({ members, subject }: Beef, { inputs }: CreateArgs): Beef => ({
  members: lineage(
    members,
    inputs.map(({ outpoint }) => parseOutpoint(outpoint).txid),
  ),
  subject,
})

async function reserveCoins(
  parts: WalletParts,
  args: CreateArgs,
  { beef, feeRate }: { beef: Beef | undefined; feeRate: number },
): Promise<Draft> {
  const { store, now, flights } = parts
  let begun: number | undefined
  const change = store.change(async (batch) => {
    for (const member of beef?.members.values() ?? []) batch.putMember(member)
    const given = args.inputs.map((input) => givenInput(batch, beef, input))
    const shape: Shape = {
      feeRate,
      unlocks: given.map(({ input, unlock }) => input.unlockBytes ?? unlock.length),
      locks: args.outputs.map(({ lockingScript }) => lockingScript.length / 2),
      satoshis: total(given.map(({ input }) => input)) - total(args.outputs),
    }
    const { coins, surplus } = await selectCoins(
      store,
      shape,
      new Set(args.inputs.map(({ outpoint }) => outpoint)),
    )
    const amounts = await changeOf(parts, shape, coins)
    if (surplus < 0 || (args.outputs.length === 0 && amounts.length === 0)) throw missing(coins, surplus)
    const inputs = [...given.map(({ input }) => input), ...coins.map(inputOf)]
    const outputs = arrange(
      [...args.outputs.map(givenOutput), ...amounts.map((satoshis) => changeOutput(parts, batch, satoshis))],
      args.options.randomizeOutputs,
    )
    const template: Transaction = {
      version: 1,
      inputs: inputs.map(({ outpoint }, at) => ({
        ...parseOutpoint(outpoint),
        script: given[at]?.unlock ?? new Uint8Array(0),
        sequence: finalSequence,
      })),
      outputs: outputs.map(({ output }) => output),
      lockTime: 0,
    }
    const number = batch.next('action')
    const until = now() + parts.reservedMs
    const action: Action = {
      number,
      reference: newReference(number),
      state: 'unsigned',
      template: toHex(serializeTransaction(template)),
      until,
      description: args.description,
      labels: args.labels,
      created: now(),
      isOutgoing: true,
      satoshis:
        total(outputs.filter(({ facts }) => facts.basket !== undefined).map(({ output }) => output)) -
        total(ours(batch, inputs)),
      inputs,
      outputs: outputs.map(({ facts }, vout) => ({ vout, ...facts })),
    }
    reserve(batch, action, until)
    batch.putAction(action)
    begun = number
    flights.begin(number)
    return { action, template }
  })
  return change.catch((error: unknown) => {
    if (begun !== undefined) flights.end(begun)
    throw error
  })
}

/** Actions that nobody signed in time give their coins back. */
export async function expire(
  { store, now }: Pick<WalletParts, 'store' | 'now'>,
  batch: Batch,
): Promise<void> {
  for await (const { number, until } of store.actionsIn('unsigned'))
    if (until !== undefined && until <= now()) fail(batch, number, 'it was not signed in time')
}

interface Given {
  readonly input: ActionInput
  readonly unlock: Uint8Array
}

function givenInput(batch: Batch, beef: Beef | undefined, given: CreateArgs['inputs'][number]): Given {
  const { outpoint, unlockingScript, unlockingScriptLength } = given
  const output = spentOutput(batch, beef, outpoint)
  const state = batch.coin(outpoint)?.state
  if (state === 'expected' || state === 'failed')
    throw new MarketError('ERR_CONFLICT', `${outpoint} is of a transaction that the network does not have`)
  const unlock = unlockingScript === undefined ? new Uint8Array(0) : fromHex(unlockingScript)
  const input: ActionInput = {
    outpoint,
    satoshis: output.satoshis,
    script: toHex(output.script),
    description: given.inputDescription,
    ...(unlockingScript === undefined &&
      unlockingScriptLength !== undefined && { unlockBytes: unlockingScriptLength }),
  }
  return { input, unlock }
}

function spentOutput(batch: Batch, beef: Beef | undefined, outpoint: string): Output {
  const coin = batch.coin(outpoint)
  if (coin !== undefined) return { satoshis: coin.satoshis, script: fromHex(coin.script) }
  const { txid, vout } = parseOutpoint(outpoint)
  const output = beef?.members.get(txid)?.transaction.outputs[vout]
  if (output === undefined)
    throw invalidParameter('inputs', `outputs of this wallet or of the inputBEEF, which ${outpoint} is not`)
  return output
}

const inputOf = ({ outpoint, satoshis, script, key }: Omit<ActionInput, 'description'>): ActionInput => ({
  outpoint,
  satoshis,
  script,
  description: 'coin of the wallet',
  ...(key !== undefined && { key }),
})

interface Planned {
  readonly output: Output
  readonly facts: Omit<ActionOutput, 'vout'>
}

const givenOutput = (output: CreateArgs['outputs'][number]): Planned => {
  const { basket, customInstructions, tags } = output
  return {
    output: { satoshis: output.satoshis, script: fromHex(output.lockingScript) },
    facts: {
      description: output.outputDescription,
      ...(basket !== undefined && { basket, tags }),
      ...(customInstructions !== undefined && { customInstructions }),
    },
  }
}

function changeOutput({ keys }: WalletParts, batch: Batch, satoshis: number): Planned {
  const key = countedKey('change', batch.next('change'))
  return {
    output: { satoshis, script: ownScript(keys, key) },
    facts: { description: 'change', basket: fundsBasket, tags: [], key },
  }
}

async function changeOf(
  { store }: WalletParts,
  shape: Shape,
  coins: readonly { satoshis: number }[],
): Promise<number[]> {
  const limit = changeLimits.fewCoins + coins.length
  const free = [...(await store.freeCoins(true, { limit })), ...(await store.freeCoins(false, { limit }))]
  return changeAmounts(
    shape,
    coins.map(({ satoshis }) => satoshis),
    Math.max(0, free.length - coins.length),
  )
}

/** In any order, each equally likely, so that change does not stand out. */
function arrange(outputs: readonly Planned[], isRandom: boolean): Planned[] {
  const arranged = [...outputs]
  for (let left = isRandom ? arranged.length : 0; left > 1; left--) {
    const at = randomInt(left)
    const last = left - 1
    ;[arranged[at], arranged[last]] = [arranged[last]!, arranged[at]!] // both are within
  }
  return arranged
}

function missing(coins: readonly { satoshis: number }[], surplus: number): MarketError {
  const more = Math.max(1, -surplus)
  return insufficientFunds(total(coins) + more, more)
}

const ours = (batch: Batch, inputs: readonly ActionInput[]) =>
  inputs.filter(({ outpoint }) => batch.coin(outpoint) !== undefined)

const total = (amounts: readonly { satoshis: number }[]): number =>
  amounts.reduce((sum, { satoshis }) => sum + satoshis, 0)
