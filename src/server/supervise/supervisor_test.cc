// Both ends of the socket, and what the supervisor does when the other end is lost. The executor's
// end runs in a thread here; processes are tested by tests/python/test_supervised.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <random>
#include <thread>

#include "base/log.h"
#include "server/supervise/executor_host.h"
#include "server/supervise/messages.h"
#include "server/supervise/supervisor.h"
#include "server/supervise/wire.h"
#include "server/testing/fake_backend.h"
#include "server/testing/test_model.h"

namespace ramjet::server {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

/// What a test does to the executor's end.
struct Plan {
  std::string text = "Hello";
  double step_s = 0.002;
  int max_running = 1 << 20;
  Error start_error{ErrorCode::kInternal, ""};  // with a message: it cannot be made
  bool silent = false;
};

/// An executor's end in a thread; the next() of them is what the plan then says.
class Ends {
 public:
  struct End {
    explicit End(int fd) : socket(fd), host(fd, 0.05) {}
    int socket;
    ExecutorHost host;
    std::unique_ptr<FakeBackend> backend;
    ExecutorHooks hooks;
  };

  std::atomic<int> launched{0};

  /// Of the ends to come.
  void plan(const std::function<void(Plan&)>& change) {
    const std::lock_guard lock(mutex_);
    change(plan_);
  }

  ExecutorLauncher launcher() {
    return [this](uint32_t incarnation) -> Result<std::unique_ptr<ExecutorProcess>> {
      int fds[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        return internal_error("socketpair");
      }
      EXPECT_EQ(static_cast<int>(incarnation), launched++);
      auto end = std::make_shared<End>(fds[1]);
      const std::lock_guard lock(mutex_);
      last_ = end;
      return std::unique_ptr<ExecutorProcess>(std::make_unique<Thread>(fds[0], end, plan_));
    };
  }
  /// The one that runs.
  std::shared_ptr<End> last() {
    const std::lock_guard lock(mutex_);
    return last_;
  }
  void fault() { last()->hooks.on_lost({ErrorCode::kUnavailable, "a planted fault"}); }

 private:
  class Thread final : public ExecutorProcess {
   public:
    Thread(int fd, std::shared_ptr<End> end, Plan plan)
        : fd_(fd), thread_([end, plan] { run(*end, plan); }) {}
    ~Thread() override {
      if (fd_ >= 0) end(0);
    }
    int fd() const override { return fd_; }
    std::string end(double) override {
      ::close(std::exchange(fd_, -1));
      thread_.join();
      return "as planned";
    }

   private:
    static void run(End& end, const Plan& plan) {
      const auto start = end.host.wait_for_start();
      if (!start.ok()) return;
      if (!plan.start_error.message.empty()) {
        end.host.fail(plan.start_error);
        return end.host.close();
      }
      FakeBehavior behavior;
      behavior.script = says(plan.text);
      behavior.step_s = plan.step_s;
      behavior.max_running = plan.max_running;
      behavior.hooks = end.hooks = start->config.hooks;
      end.backend = std::make_unique<FakeBackend>(behavior);
      if (plan.silent) {
        char byte;
        while (::recv(end.socket, &byte, 1, 0) > 0) {
        }
        return;
      }
      end.host.serve(*end.backend);
    }

    int fd_;
    std::thread thread_;
  };

  std::mutex mutex_;
  Plan plan_;
  std::shared_ptr<End> last_;  // owners: this and its thread
};

/// A request's outputs as a caller sees them.
struct Seen {
  std::mutex mutex;
  std::vector<int32_t> ids;
  std::optional<RequestOutput> last;
  int lasts = 0;
  std::promise<void> begun, done;

  OutputCallback callback() {
    return [this](RequestOutput&& output) {
      const std::lock_guard lock(mutex);
      if (ids.empty() && !output.ids.empty()) begun.set_value();
      ids.insert(ids.end(), output.ids.begin(), output.ids.end());
      if (!output.last) return;
      if (++lasts == 1) done.set_value();
      last = std::move(output);
    };
  }
  const RequestOutput& wait() {
    EXPECT_EQ(done.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
    const std::lock_guard lock(mutex);
    if (!last) last.emplace();
    return *last;
  }
};

Request prompt(int n = 1) {
  Request request;
  request.prompt_ids = {1, 2, 3};
  request.n = n;
  return request;
}

struct Pair {
  Ends ends;
  std::unique_ptr<Supervisor> supervisor;

  Status start(SupervisorOptions options = {}) {
    set_log_level(LogLevel::kOff);
    options.launch = ends.launcher();
    options.backoff_s = 0.02;
    options.max_backoff_s = 0.1;
    auto made = Supervisor::start(std::move(options));
    if (!made.ok()) return made.error();
    supervisor = std::move(*made);
    return ok_status();
  }
  bool eventually(const std::function<bool()>& condition, double limit_s = 10) {
    for (int i = 0; i < limit_s * 200 && !condition(); ++i) {
      std::this_thread::sleep_for(milliseconds(5));
    }
    return condition();
  }
};

TEST(Supervisor, OutputsComeThroughInOrder) {
  Pair pair;
  pair.ends.plan([](Plan& p) { p.text = "the quick brown fox"; });
  ASSERT_TRUE(pair.start().ok());
  std::vector<std::unique_ptr<Seen>> seen;
  for (int i = 0; i < 40; ++i) {
    seen.push_back(std::make_unique<Seen>());
    const auto id = pair.supervisor->submit(prompt(1 + i % 3), seen.back()->callback());
    ASSERT_TRUE(id.ok());
    EXPECT_EQ(*id, static_cast<uint64_t>(i + 1));
  }
  for (int i = 0; i < 40; ++i) {
    const RequestOutput& last = seen[static_cast<size_t>(i)]->wait();
    EXPECT_EQ(last.request, static_cast<uint64_t>(i + 1));
    EXPECT_EQ(last.finish, FinishReason::kStop);
    EXPECT_EQ(seen[static_cast<size_t>(i)]->ids.size(), 19u * static_cast<size_t>(1 + i % 3));
  }
  EXPECT_EQ(seen[0]->ids, byte_ids("the quick brown fox"));
  EXPECT_TRUE(pair.supervisor->health().ok());
  EXPECT_EQ(pair.supervisor->stats().device, "fake");
  EXPECT_GE(pair.supervisor->stats().generation_tokens, 19u * 40u) << "counted before it is seen";
}

TEST(Supervisor, AFaultEndsWhatRunsAndKeepsWhatWaits) {
  Pair pair;
  pair.ends.plan([](Plan& p) { p.text = std::string(2000, 'x'); });
  ASSERT_TRUE(pair.start().ok());
  Seen running, waiting, later;
  ASSERT_TRUE(pair.supervisor->submit(prompt(2), running.callback()).ok());
  running.begun.get_future().wait();
  pair.ends.last()->backend->paused = true;  // what comes now does not begin
  ASSERT_TRUE(pair.supervisor->submit(prompt(), waiting.callback()).ok());
  pair.ends.plan([](Plan& p) { p.text = "again"; });
  const uint64_t tokens = pair.supervisor->stats().generation_tokens;
  pair.ends.fault();
  const RequestOutput& ended = running.wait();
  EXPECT_EQ(ended.finish, FinishReason::kError);
  EXPECT_EQ(ended.error->code, ErrorCode::kUnavailable);
  EXPECT_THAT(ended.error->message, HasSubstr("a planted fault"));
  EXPECT_EQ(waiting.wait().finish, FinishReason::kStop);
  EXPECT_EQ(waiting.ids, byte_ids("again"));
  EXPECT_TRUE(pair.supervisor->health().ok());
  ASSERT_TRUE(pair.supervisor->submit(prompt(), later.callback()).ok());
  EXPECT_EQ(later.wait().finish, FinishReason::kStop);
  EXPECT_EQ(pair.supervisor->stats().restarts, 1u);
  EXPECT_GE(pair.supervisor->stats().generation_tokens, tokens + 10) << "counters only grow";
  EXPECT_EQ(running.lasts + waiting.lasts + later.lasts, 3);
}

TEST(Supervisor, RequestsThatComeMeanwhileWait) {
  Pair pair;
  ASSERT_TRUE(pair.start({.executor = {.max_queue = 2}, .max_restarts = 1000}).ok());
  pair.ends.plan([](Plan& p) { p.start_error = {ErrorCode::kResourceExhausted, "no memory yet"}; });
  pair.ends.fault();
  ASSERT_TRUE(pair.eventually([&] { return !pair.supervisor->health().ok(); }));
  Seen first, second, third;
  const auto id = pair.supervisor->submit(prompt(2), first.callback());
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE(pair.supervisor->submit(prompt(), second.callback()).ok());
  EXPECT_EQ(pair.supervisor->submit(prompt(), third.callback()).error().code,
            ErrorCode::kResourceExhausted);
  EXPECT_EQ(pair.supervisor->stats().requests_waiting, 2);
  pair.supervisor->cancel(*id);
  EXPECT_EQ(first.wait().finish, FinishReason::kCancelled);
  pair.ends.plan([](Plan& p) { p.start_error.message.clear(); });
  EXPECT_EQ(second.wait().finish, FinishReason::kStop);
  EXPECT_TRUE(pair.supervisor->health().ok());
}

TEST(Supervisor, ADeadlineHoldsWhileWaiting) {
  Pair pair;
  ASSERT_TRUE(pair.start({.max_restarts = 1000}).ok());
  pair.ends.plan([](Plan& p) { p.start_error = {ErrorCode::kResourceExhausted, "no memory yet"}; });
  pair.ends.fault();
  ASSERT_TRUE(pair.eventually([&] { return !pair.supervisor->health().ok(); }));
  Seen seen;
  Request request = prompt();
  request.deadline_s = 0.05;
  ASSERT_TRUE(pair.supervisor->submit(std::move(request), seen.callback()).ok());
  EXPECT_EQ(seen.wait().error->code, ErrorCode::kDeadlineExceeded);
}

TEST(Supervisor, ItGivesUpAfterTooManyLosses) {
  Pair pair;
  pair.ends.plan([](Plan& p) { p.text = std::string(2000, 'x'); });
  ASSERT_TRUE(pair.start({.max_restarts = 2}).ok());
  pair.ends.plan([](Plan& p) { p.start_error = {ErrorCode::kResourceExhausted, "no memory"}; });
  Seen running, waiting;
  ASSERT_TRUE(pair.supervisor->submit(prompt(), running.callback()).ok());
  running.begun.get_future().wait();
  pair.ends.last()->backend->paused = true;
  ASSERT_TRUE(pair.supervisor->submit(prompt(), waiting.callback()).ok());
  pair.ends.fault();
  EXPECT_THAT(running.wait().error->message, HasSubstr("a planted fault"));
  EXPECT_THAT(waiting.wait().error->message, HasSubstr("not replaced any more"));
  EXPECT_THAT(pair.supervisor->health().error().message, HasSubstr("3 times"));
  EXPECT_THAT(pair.supervisor->health().error().message, HasSubstr("the log says why"));
  EXPECT_THAT(pair.supervisor->health().error().message, Not(HasSubstr("no memory")));
  EXPECT_EQ(pair.ends.launched, 3);
  Seen later;
  EXPECT_EQ(pair.supervisor->submit(prompt(), later.callback()).error().code,
            ErrorCode::kUnavailable);
  EXPECT_TRUE(pair.supervisor->drain(1).ok());
}

TEST(Supervisor, TheFirstStartsErrorIsTheCallers) {
  Pair pair;
  pair.ends.plan([](Plan& p) {
    p.start_error = {ErrorCode::kUnsupported, "built for another machine"};
  });
  const Status status = pair.start();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(status.error().message, "built for another machine");
  EXPECT_EQ(pair.ends.launched, 1);
}

TEST(Supervisor, AProcessThatIsNeverReadyIsGivenUp) {
  Pair pair;
  pair.ends.plan([](Plan& p) { p.silent = true; });
  const Status status = pair.start({.start_limit_s = 0.1});
  EXPECT_THAT(status.error().message, HasSubstr("not ready after 0.1 s"));
}

TEST(Supervisor, ASilentProcessIsReplaced) {
  Pair pair;
  pair.ends.plan([](Plan& p) { p.text = std::string(100000, 'x'); });
  ASSERT_TRUE(pair.start({.silence_limit_s = 0.3}).ok());
  Seen running;
  ASSERT_TRUE(pair.supervisor->submit(prompt(), running.callback()).ok());
  running.begun.get_future().wait();
  // Nothing leaves that end any more, signs of life included.
  const auto end = pair.ends.last();
  end->backend->stuck = true;
  EXPECT_THAT(running.wait().error->message, HasSubstr("no sign of life for 0.3 s"));
  EXPECT_FALSE(pair.supervisor->health().ok());
  end->backend->stuck = false;  // as if it were killed
  EXPECT_TRUE(pair.eventually([&] { return pair.supervisor->health().ok(); }));
}

TEST(Supervisor, AnUnhealthyExecutorIsReplaced) {
  Pair pair;
  ASSERT_TRUE(pair.start().ok());
  pair.ends.last()->backend->healthy = false;
  EXPECT_TRUE(pair.eventually([&] { return pair.supervisor->stats().restarts == 1; }));
  Seen seen;
  ASSERT_TRUE(pair.supervisor->submit(prompt(), seen.callback()).ok());
  EXPECT_EQ(seen.wait().finish, FinishReason::kStop);
}

TEST(Supervisor, GarbageFromTheProcessReplacesIt) {
  std::string outputs;  // of a sequence that the request does not have
  RequestOutput output;
  output.index = 5;
  put_message(outputs, Message::kOutputs, uint64_t{1}, output);
  std::string alien;
  put_message(alien, Message::kSubmit, prompt());
  std::string cut;
  put_message(cut, Message::kStarted, uint32_t{0xffffffff});
  for (const std::string& bytes : {std::string("garbage garbage"), outputs, alien, cut}) {
    Pair pair;
    pair.ends.plan([](Plan& p) { p.text = std::string(2000, 'x'); });
    ASSERT_TRUE(pair.start().ok());
    Seen running;
    ASSERT_TRUE(pair.supervisor->submit(prompt(), running.callback()).ok());
    running.begun.get_future().wait();
    const auto end = pair.ends.last();
    end->backend->paused = true;
    ASSERT_GT(::send(end->socket, bytes.data(), bytes.size(), MSG_NOSIGNAL), 0);
    EXPECT_EQ(running.wait().finish, FinishReason::kError);
    EXPECT_TRUE(pair.eventually([&] { return pair.supervisor->stats().restarts == 1; }));
  }
}

TEST(Supervisor, RefusalsAndCancelsGoThrough) {
  Pair pair;
  pair.ends.plan([](Plan& p) { p.text = std::string(100000, 'x'); });
  pair.ends.plan([](Plan& p) { p.max_running = 2; });
  ASSERT_TRUE(pair.start().ok());
  Seen one, two, three;
  const auto first = pair.supervisor->submit(prompt(2), one.callback());
  const auto second = pair.supervisor->submit(prompt(), two.callback());
  ASSERT_TRUE(first.ok() && second.ok());
  const auto third = pair.supervisor->submit(prompt(), three.callback());
  EXPECT_EQ(third.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(pair.supervisor->submit(prompt(0), three.callback()).error().code,
            ErrorCode::kInvalidArgument);
  FakeBackend* backend = pair.ends.last()->backend.get();
  pair.supervisor->cancel(*first, 1);
  EXPECT_TRUE(pair.eventually([&] { return backend->cancelled_sequences == 1; }));
  pair.supervisor->cancel(*first);
  EXPECT_EQ(one.wait().finish, FinishReason::kCancelled);
  pair.supervisor->cancel(*second);
  EXPECT_EQ(two.wait().finish, FinishReason::kCancelled);
  pair.supervisor->cancel(12345);
  EXPECT_TRUE(pair.eventually([&] { return backend->running() == 0; }));
}

TEST(Supervisor, ACallbackThatThrowsLosesItsRequestAlone) {
  Pair pair;
  pair.ends.plan([](Plan& p) { p.text = std::string(100000, 'x'); });
  ASSERT_TRUE(pair.start().ok());
  ASSERT_TRUE(pair.supervisor
                  ->submit(prompt(), [](RequestOutput&&) { throw std::runtime_error("planted"); })
                  .ok());
  FakeBackend* backend = pair.ends.last()->backend.get();
  EXPECT_TRUE(pair.eventually([&] { return backend->cancelled == 1; }));
  EXPECT_TRUE(pair.supervisor->health().ok());
}

TEST(Supervisor, DrainWaitsAndThenCancels) {
  Pair pair;
  ASSERT_TRUE(pair.start().ok());
  Seen brief;
  ASSERT_TRUE(pair.supervisor->submit(prompt(), brief.callback()).ok());
  EXPECT_TRUE(pair.supervisor->drain(10).ok());
  EXPECT_EQ(brief.lasts, 1);
  EXPECT_EQ(pair.supervisor->submit(prompt(), {}).error().code, ErrorCode::kUnavailable);

  Pair other;
  other.ends.plan([](Plan& p) { p.text = std::string(100000, 'x'); });
  ASSERT_TRUE(other.start().ok());
  Seen endless;
  ASSERT_TRUE(other.supervisor->submit(prompt(), endless.callback()).ok());
  EXPECT_THAT(other.supervisor->drain(0.05).error().message, HasSubstr("1 requests"));
  EXPECT_EQ(endless.lasts, 1);
  EXPECT_EQ(endless.last->finish, FinishReason::kCancelled);
}

TEST(Supervisor, DestructionEndsEveryRequest) {
  Pair pair;
  pair.ends.plan([](Plan& p) { p.text = std::string(100000, 'x'); });
  ASSERT_TRUE(pair.start().ok());
  Seen seen;
  ASSERT_TRUE(pair.supervisor->submit(prompt(3), seen.callback()).ok());
  pair.supervisor.reset();
  EXPECT_EQ(seen.lasts, 1);
  EXPECT_EQ(seen.last->finish, FinishReason::kCancelled);
}

// Faults at any time under load: every request ends exactly once, and all that end well are whole.
TEST(Supervisor, ManyRequestsOverManyFaults) {
  Pair pair;
  pair.ends.plan([](Plan& p) { p.text = "some forty bytes of text are said each time"; });
  pair.ends.plan([](Plan& p) { p.step_s = 0.0005; });
  ASSERT_TRUE(pair.start({.max_restarts = 1000}).ok());
  std::atomic<bool> stop{false};
  std::thread trouble([&] {
    std::mt19937 rng(3);
    for (int i = 0; i < 12; ++i) {
      std::this_thread::sleep_for(milliseconds(20 + rng() % 60));
      if (const auto end = pair.ends.last(); i % 2 == 0) {
        ::shutdown(end->socket, SHUT_RDWR);
      } else {
        end->host.close();
      }
    }
    stop = true;
  });
  const std::vector<int32_t> whole = byte_ids("some forty bytes of text are said each time");
  std::atomic<int> good{0}, failed{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&] {
      while (!stop || good <= 50) {
        std::vector<std::unique_ptr<Seen>> seen;
        for (int i = 0; i < 8; ++i) {
          seen.push_back(std::make_unique<Seen>());
          ASSERT_TRUE(pair.supervisor->submit(prompt(), seen.back()->callback()).ok());
        }
        for (auto& each : seen) {
          const bool ok = each->wait().finish == FinishReason::kStop;
          ++(ok ? good : failed);
          if (ok) EXPECT_EQ(each->ids, whole);
          EXPECT_EQ(each->lasts, 1);
        }
      }
    });
  }
  trouble.join();
  for (std::thread& client : clients) client.join();
  EXPECT_GT(good, 50);
  EXPECT_GT(failed, 0);
  EXPECT_GE(pair.ends.launched, 6);
  EXPECT_TRUE(pair.supervisor->drain(5).ok());
}

}  // namespace
}  // namespace ramjet::server
