// What gRPC errors carry beside their code: google.rpc.Status, in the trailer `grpc-status-details-bin`.
import protobuf from 'protobufjs';

const { root } = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
`);
const Status = root.lookupType('google.rpc.Status');
const ErrorInfo = root.lookupType('google.rpc.ErrorInfo');

/**
 * @param {import('@grpc/grpc-js').ServiceError} error
 * @returns {{reason: string, domain: string} | undefined}
 */
export function errorInfo(error) {
  const [trailer] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!trailer) return undefined;
  const detail = Status.decode(trailer).details.find(({ typeUrl }) => typeUrl.endsWith('/google.rpc.ErrorInfo'));
  return detail && ErrorInfo.decode(detail.value);
}
