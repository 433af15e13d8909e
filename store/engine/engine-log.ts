/**
 * Where the engine tells what an operator should know. The program passes its logger.
 */
export interface EngineLog {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

export const SILENT_LOG: EngineLog = { info() {}, warn() {}, error() {} };
