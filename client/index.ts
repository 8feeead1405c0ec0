/** The library: everything else under client/ is private. */
export type { Account, LedgerEntry, Purse } from '../contracts/account.ts'
export type { Finding } from '../contracts/audit/findings.ts'
export { type CheckedClaim, type CheckedEvidence, verifyEvidence } from '../contracts/audit/verify.ts'
export { formatAddress, parseAddress, type RelayAddress } from '../market/address.ts'
export { type Code, MarketError } from '../market/errors.ts'
export { type IdentityFile, openIdentity } from '../market/identity-file.ts'
export type { Payload } from '../market/payload.ts'
export type { Prices } from '../market/units.ts'
export type { AuditedAt, AuditOptions, PurseAudit } from './audit.ts'
export type { Card } from './card.ts'
export { Client } from './client.ts'
export type { Coins } from './coins.ts'
export type { ContractCall, Contracts, OpenCall, Pass, Plan, RenewCall, TendCall, View } from './contracts.ts'
export type { DepositCall, MoneyCall } from './credit.ts'
export type { Notice } from './context.ts'
export type { Delivery, Quotable, QuoteOptions, SendOptions } from './delivery.ts'
export { ClientError, type ClientCode, Refused, RefusedByAll } from './errors.ts'
export type { ChannelView, Feeds, PostOptions } from './feeds.ts'
export type { FeedItem, FeedPost, FeedsRefreshed, LostPost } from './feeds/feed.ts'
export type { Followed } from './feeds/follows.ts'
export type { Folders, FolderView } from './folders.ts'
export type { SyncOptions, Synced } from './sync/sync.ts'
export type { FileOptions } from './files/plan.ts'
export type { Progress, TransferOptions } from './files/transfer.ts'
export type { Message } from './home/inbox.ts'
export type { Connected } from './home/home.ts'
export type { Incoming } from './home/incoming.ts'
export type { Migration } from './home/migration.ts'
export type { LetterOptions, Mail } from './letters.ts'
export type {
  ChannelRead,
  Choice,
  ChooseCall,
  Judged,
  KnownAdvert,
  Listing,
  Market,
  MarketCall,
  OpenedAt,
  OpenSetCall,
  Probed,
  Usage,
  Wishes,
} from './market.ts'
export type { ChosenSet } from '../market/choose-set.ts'
export type { Factor, Limits, Why } from '../market/score.ts'
export type { UsagePattern } from '../market/usage-pattern.ts'
export type { Attachment, Letter, Thread } from './mail/letters.ts'
export type { Redundancy as RedundancySettings } from './home/redundancy.ts'
export type { Flushed } from './mail/flush.ts'
export type { Sent, SentState } from './mail/overview.ts'
export type { Posted } from './mail/post.ts'
export type { Pulled, PullOptions } from './mail/pull.ts'
export type { Strangers } from './mail/strangers.ts'
export type { AccountAt } from './money/account.ts'
export type { ContractStanding } from './money/standing.ts'
export type { CostOptions } from './money/bound.ts'
export type { Cancelled, Deposit, DepositOptions, DepositPlan } from './money/deposit.ts'
export type { Withdrawn } from './money/withdraw.ts'
export { type Cost, costQuoted, type Quoted, type RelayQuote } from './money/quotes.ts'
export type { CoinBalance, CoinHistory, CoinPayment, Recovered, RecoverOptions } from './money/coins.ts'
export type { CoinOptions } from './money/wallet.ts'
export { connectWallet, type InitOptions, type OpenOptions } from './open.ts'
export type { MigrateCall, Redundancy } from './redundancy.ts'
export type { Added, Friend } from './people/friends.ts'
export type { Checked, CheckOptions, Health } from './relays/check.ts'
export type { CopyCost, CopyOptions, Unmoved } from './relays/copy.ts'
export type { Repaired } from './relays/repair.ts'
export { fromBrc100, fromKeyWallet, type RecordKey, type Wallet } from './wallet.ts'
export type { Answer, Outcome } from './wire/answer.ts'
export { type CallOptions, Connection } from './wire/connection.ts'
export { fetchInfo } from './wire/info.ts'
export { live, type LiveOptions } from './wire/live.ts'
export type { Ping } from './wire/ping.ts'
