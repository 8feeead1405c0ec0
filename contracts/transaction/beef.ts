/** A transaction together with what proves it: BEEF (BRC-62, BRC-96), about one transaction (BRC-95). */
import { concat } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { isUnlocked } from './lock-time.ts'
import { branchOf, type MerklePath, pathId, readPath, rootOf, serializePath } from './merkle-path.ts'
import { type Budget, checkScripts, feeOf, newBudget } from './spend.ts'
import {
  compactSize,
  formatOutpoint,
  hashOfTxid,
  nullTxid,
  type Output,
  Reader,
  readTransaction,
  serializeTransaction,
  type Transaction,
  type Txid,
  txidOf,
  txidOfHash,
  uint32,
} from './transaction.ts'

export interface Member {
  readonly txid: Txid
  readonly transaction: Transaction
  /** In a block; without it, its parents are members too. */
  readonly path?: MerklePath
}

export interface Beef {
  /** Parents before children. */
  readonly members: ReadonlyMap<Txid, Member>
  /** The transaction it is about: the one an Atomic BEEF names, else the last one. */
  readonly subject: Member
}

/** What knows the headers of the best chain. */
export interface Headers {
  isValidRootForHeight(root: Txid, height: number): Promise<boolean>
  currentHeight(): Promise<number>
}

export const beefLimits = { bytes: 8 << 20, members: 2000 } as const
const version1 = 4022206465
const version2 = 4022206466
const atomic = 0x01010101
/** Confirmations before the outputs of a coinbase may be spent. */
export const coinbaseMaturity = 100

/** @throws ERR_MALFORMED, ERR_TOO_LARGE; a transaction that is only named, not contained, is malformed: nothing could be proven */
export function parseBeef(bytes: Uint8Array): Beef {
  if (bytes.length > beefLimits.bytes)
    throw new MarketError('ERR_TOO_LARGE', `a BEEF has at most ${beefLimits.bytes} bytes`)
  const reader = new Reader(bytes)
  const first = reader.uint32()
  const named = first === atomic ? txidOfHash(reader.bytes(32)) : undefined
  const version = first === atomic ? reader.uint32() : first
  if (version !== version1 && version !== version2) throw malformed('its version')
  const paths = Array.from({ length: reader.count(4) }, () => readPath(reader))
  const count = reader.count(11)
  if (count > beefLimits.members)
    throw new MarketError('ERR_TOO_LARGE', `more than ${beefLimits.members} transactions`)
  const members = new Map<Txid, Member>()
  for (let left = count; left > 0; left--) {
    const member = readMember(reader, version, paths)
    members.set(member.txid, member)
  }
  reader.end()
  const subject = named === undefined ? [...members.values()].at(-1) : members.get(named)
  if (subject === undefined) throw malformed('its transaction is not in it')
  return { members, subject }
}

function readMember(reader: Reader, version: number, paths: readonly MerklePath[]): Member {
  const format = version === version2 ? reader.uint8() : undefined
  if (format !== undefined && format > 1) throw malformed('a transaction is named only')
  const early = format === 1 ? reader.compactSize() : undefined
  const transaction = readTransaction(reader)
  const late = version === version1 && reader.uint8() === 1 ? reader.compactSize() : undefined
  const index = early ?? late
  const txid = txidOf(transaction)
  if (index === undefined) return { txid, transaction }
  const path = paths[index]
  if (path === undefined) throw malformed('a path is missing')
  // Only what proves this one is kept of a path that many share.
  return { txid, transaction, path: branchOf(path, txid) }
}

type Find = (txid: Txid) => Promise<Member | undefined> | Member | undefined

/**
 * Atomic BEEF about `subject`, of it and its ancestors up to those that are in blocks.
 * @throws ERR_NOT_FOUND when `find` knows neither a path for a transaction nor a parent of it
 */
export const makeBeef = async (subject: Txid, find: Find): Promise<Uint8Array> =>
  concat(uint32(atomic), hashOfTxid(subject), await makeBeefOf([subject], find))

/** `makeBeef` of several transactions: one BEEF that is about none of them alone. */
export async function makeBeefOf(subjects: readonly Txid[], find: Find): Promise<Uint8Array> {
  const members = new Map<Txid, Member>()
  // Depth first, with a stack of its own: chains of unconfirmed transactions may be long.
  const open: { txid: Txid; member?: Member }[] = subjects.map((txid) => ({ txid }))
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (members.has(next.txid)) continue
    if (next.member !== undefined) {
      members.set(next.txid, next.member)
      continue
    }
    const member = await find(next.txid)
    if (member === undefined)
      throw new MarketError('ERR_NOT_FOUND', `the transaction ${next.txid} is not known`)
    open.push({ txid: next.txid, member })
    if (member.path === undefined) for (const { txid } of member.transaction.inputs) open.push({ txid })
    if (open.length + members.size > 8 * beefLimits.members)
      throw new MarketError('ERR_TOO_LARGE', 'too many ancestors are not in blocks yet')
  }
  return serializeBeef([...members.values()])
}

/** @param members parents before children */
function serializeBeef(members: readonly Member[]): Uint8Array {
  const paths = new Map<string, { path: MerklePath; index: number }>()
  const indexOf = (path: MerklePath): number => {
    const id = pathId(path)
    const known = paths.get(id) ?? { path, index: paths.size }
    paths.set(id, known)
    return known.index
  }
  const bodies = members.map(({ transaction, path }) =>
    concat(
      serializeTransaction(transaction),
      ...(path === undefined ? [Uint8Array.of(0)] : [Uint8Array.of(1), compactSize(indexOf(path))]),
    ),
  )
  return concat(
    ...[uint32(version1), compactSize(paths.size)],
    ...[...paths.values()].map(({ path }) => serializePath(path)),
    ...[compactSize(bodies.length), ...bodies],
  )
}

/** Of what a BEEF contains, these transactions and what they descend from, up to what is in blocks; nothing else proves them. */
export function lineage(members: Beef['members'], subjects: readonly Txid[]): Beef['members'] {
  const wanted = new Set<Txid>()
  const open = [...subjects]
  for (let txid = open.pop(); txid !== undefined; txid = open.pop()) {
    const member = members.get(txid)
    if (member === undefined || wanted.has(txid)) continue
    wanted.add(txid)
    if (member.path === undefined) for (const input of member.transaction.inputs) open.push(input.txid)
  }
  return new Map([...members].filter(([txid]) => wanted.has(txid)))
}

/**
 * Everything that can be known without the network: each member is in a block of the best chain, or final, of version 1,
 * signed under the rules of nodes, and spends once, and no more than there is, outputs of members.
 * @param budget what the scripts of all members together may cost
 * @returns what the subject spends, in the order of its inputs; empty where it is in a block
 * @throws ERR_TRANSACTION_REFUSED
 */
export async function verifyBeef(
  { members, subject }: Beef,
  headers: Headers,
  budget: Budget = newBudget(),
): Promise<readonly Output[]> {
  const height = await headers.currentHeight()
  /** Parents stand before children, so that no member can depend on itself. */
  const checked = new Map<Txid, Member>()
  const outpoints = new Set<string>()
  let spent: readonly Output[] = []
  for (const member of members.values()) {
    if (member.path !== undefined) {
      await checkPath(member, member.path, headers)
      checked.set(member.txid, member)
      continue
    }
    const outputs = spentBy(member, checked, height)
    for (const outpoint of member.transaction.inputs.map(formatOutpoint)) {
      if (outpoints.has(outpoint)) throw refused(`${outpoint} is spent twice`)
      outpoints.add(outpoint)
    }
    checked.set(member.txid, member)
    checkForm(member)
    feeOf(member.transaction, outputs)
    await checkScripts(member.transaction, outputs, 'policy', budget)
    if (member === subject) spent = outputs
  }
  return spent
}

async function checkPath({ txid, transaction }: Member, path: MerklePath, headers: Headers): Promise<void> {
  // 64 bytes could be the two halves of an inner node of the tree.
  if (serializeTransaction(transaction).length === 64)
    throw refused(`${txid} has the form of a node of a tree`)
  const { root } = rootOf(path, txid)
  if (!(await headers.isValidRootForHeight(root, path.height)))
    throw refused(`${txid} is not in the block of height ${path.height}`)
}

function spentBy({ transaction }: Member, members: Beef['members'], height: number): Output[] {
  return transaction.inputs.map((input) => {
    const parent = members.get(input.txid)
    const output = parent?.transaction.outputs[input.vout]
    if (parent === undefined || output === undefined)
      throw refused(`${formatOutpoint(input)} is not contained`)
    if (
      parent.path !== undefined &&
      isCoinbase(parent.transaction) &&
      height - parent.path.height + 1 < coinbaseMaturity
    )
      throw refused(`${formatOutpoint(input)} was mined too recently`)
    return output
  })
}

export const isCoinbase = ({ inputs }: Transaction): boolean =>
  inputs.length === 1 && inputs[0]!.txid === nullTxid && inputs[0]!.vout === 0xffffffff

function checkForm({ txid, transaction }: Member): void {
  // Other versions can be changed by anyone on their way, since Chronicle.
  if (transaction.version !== 1) throw refused(`${txid} has version ${transaction.version}, not 1`)
  if (!isUnlocked(transaction)) throw refused(`${txid} is not final`)
}

const refused = (sentence: string): MarketError => new MarketError('ERR_TRANSACTION_REFUSED', sentence)
const malformed = (what: string): MarketError =>
  new MarketError('ERR_MALFORMED', `not a BEEF that contains what it is about: ${what}`)
