/** Money in words that say whose it is. */
import type { Network } from '../../../contracts/chain/chain.ts'
import { mostSatoshi } from '../../../market/units.ts'
import type { CoinBalance } from '../../money/coins.ts'
import { usageError } from '../command.ts'
import { oneLine } from '../show.ts'

/** SATOSHI, as typed. */
export function satoshiWord(text: string): number {
  if (!/^[1-9][0-9]*$/.test(text)) throw usageError('SATOSHI takes a whole number of satoshi above 0')
  if (Number(text) > mostSatoshi) throw usageError('SATOSHI is more than all coins there are')
  return Number(text)
}

/** What nobody would take for money must not look like it. */
export const worth = (network: Network): string => (network === 'main' ? '' : ' (worth nothing)')

export const amount = (satoshis: number, network: Network): string =>
  `${satoshis} satoshi on ${network}${worth(network)}`

export function balanceLines(balance: CoinBalance): string {
  const { satoshis, confirmed, unconfirmed, reserved, network, chain, tip, height, isCurrent } = balance
  const parts = [
    confirmed !== null && `${confirmed} confirmed`,
    unconfirmed !== null && unconfirmed > 0 && `${unconfirmed} not in a block yet`,
    reserved !== null && reserved > 0 && `${reserved} set aside for what waits to be signed`,
  ].filter((part) => part !== false)
  const lines = [amount(satoshis, network), ...(parts.length > 0 ? [`  ${parts.join(', ')}`] : [])]
  const isUnheard = height === null && tip === null && satoshis === 0
  if (balance.unavailable !== null)
    lines.push(`  ${asOfText({ unavailable: balance.unavailable, height, isUnheard })}`)
  else if (!isCurrent) lines.push(`  as of block ${height ?? 0} of ${tip ?? 0}: the next command reads on`)
  else lines.push(`  as of ${height === null ? 'now' : `block ${height}`}, ${oneLine(chain)}`)
  return lines.join('\n')
}

/** Of what is told although the chain did not answer. */
export function asOfText({
  unavailable,
  height,
  isUnheard = false,
}: {
  readonly unavailable: string
  readonly height: number | null
  /** The chain was never heard. */
  readonly isUnheard?: boolean
}): string {
  const known = isUnheard ? 'nothing is known yet' : 'as it was known last'
  const when = height === null ? known : `as of block ${height}`
  return `${when}: ${oneLine(unavailable)}`
}
