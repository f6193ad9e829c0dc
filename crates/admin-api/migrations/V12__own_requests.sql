-- The list of an account's own requests.
CREATE INDEX requests_by_requester ON requests (requested_by, request_id);
